#!/bin/sh
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Start dockerd in network, mount and cgroup namespaces of its own: engine.sh GROUP RUN_DIR dockerd ARGUMENTS...
# GROUP is the control group (of every hierarchy) that everything in the laboratory lives under, RUN_DIR a
# directory below /run. Docker's other habits (/etc/docker, /run/docker, /run/containerd, /opt/containerd) end
# in private mounts: the machine sees none of them.
set -eu

if [ "$1" != inside ]; then
    group=$1
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        # Unified hierarchy: the controllers that the limits of the tests need have to be passed down.
        for controller in cpu memory pids cpuset io; do
            grep -qw "$controller" /sys/fs/cgroup/cgroup.subtree_control ||
                echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true
        done
        mkdir -p "/sys/fs/cgroup/$group"
        echo $$ > "/sys/fs/cgroup/$group/cgroup.procs"
    else
        for hierarchy in /sys/fs/cgroup/*/; do
            [ -e "$hierarchy/cgroup.procs" ] || continue
            mkdir -p "$hierarchy/$group"
            if [ -e "$hierarchy/cpuset.cpus" ]; then
                cat "$hierarchy/cpuset.cpus" > "$hierarchy/$group/cpuset.cpus"
                cat "$hierarchy/cpuset.mems" > "$hierarchy/$group/cpuset.mems"
            fi
            echo $$ > "$hierarchy/$group/cgroup.procs"
        done
    fi
    exec unshare --net --mount --cgroup --propagation private "$0" inside "$@"
fi

shift 2
run_dir=$1
shift

# The control groups again, seen from our own root, so that nothing inside can name the machine's.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 -o rw,nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
    # A group that passes controllers down may hold no process itself.
    mkdir -p /sys/fs/cgroup/engine
    echo $$ > /sys/fs/cgroup/engine/cgroup.procs
    tr " " "\n" < /sys/fs/cgroup/cgroup.controllers | while read -r controller; do
        echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true
    done
else
    table=$(awk '$5 ~ "^/sys/fs/cgroup/" { for (i = 7; i <= NF; i++) if ($i == "-") print $5, $(i + 1), $(i + 3) }' \
        /proc/self/mountinfo)
    links=$(find /sys/fs/cgroup -maxdepth 1 -type l -printf '%f %l\n')
    umount -R /sys/fs/cgroup
    mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs /sys/fs/cgroup
    echo "$table" | while read -r target type options; do
        mkdir -p "$target"
        if [ "$type" = cgroup2 ]; then
            mount -t cgroup2 cgroup2 "$target"
        else
            # Of the super block's options only the hierarchy's controllers or its name count.
            names=$(echo "$options" | tr , '\n' | grep -v -e '^rw$' -e '^release_agent' -e '^xattr$' \
                -e '^clone_children$' | paste -sd,)
            case $names in name=*) names=none,$names ;; esac
            mount -t cgroup -o "$names" cgroup "$target"
        fi
    done
    echo "$links" | while read -r name target; do
        if [ -n "$name" ]; then ln -s "$target" "/sys/fs/cgroup/$name"; fi
    done
fi

# The runtime takes the first mount of a hierarchy that it finds: those of a chroot beside us must not be it.
awk '{ for (i = 7; i <= NF; i++) if ($i == "-" && $(i + 1) ~ "^cgroup2?$" && $5 !~ "^/sys/fs/cgroup(/|$)") print $5 }' \
    /proc/self/mountinfo | sort -r | while read -r target; do umount "$target" || true; done

# A private /run with our own directory in it, and private upper layers on /etc and /opt.
mkdir -p "$run_dir/private"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$run_dir/private"
mkdir -p "$run_dir/private/${run_dir#/run/}" "$run_dir/private/lock" "$run_dir/private/mount"
mount --bind "$run_dir" "$run_dir/private/${run_dir#/run/}"
for directory in etc opt; do
    mkdir -p "$run_dir/private/upper/$directory" "$run_dir/private/work/$directory"
    mount -t overlay overlay \
        -o "lowerdir=/$directory,upperdir=$run_dir/private/upper/$directory,workdir=$run_dir/private/work/$directory" \
        "/$directory"
done
mount --no-mtab --move "$run_dir/private" /run

ip link set lo up
exec "$@"
