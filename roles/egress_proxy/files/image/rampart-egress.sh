#!/bin/sh
# Starts Squid in the foreground. Arguments are passed on, so "-k parse" checks the configuration only.
#
# A port that reads TLS greetings must name a certificate although nothing is ever decrypted. It is made here, on a
# tmpfs, at each start: no key lies in the image or on the host's disk, and a client that verifies certificates
# (ours does) never accepts it.
set -eu
umask 077
openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=egress.invalid \
    -keyout /run/squid/throwaway.key -out /run/squid/throwaway.pem 2>/dev/null
# The access log is for the group that owns its directory too.
umask 027
exec /usr/sbin/squid -N -f /etc/rampart-egress/squid.conf "$@"
