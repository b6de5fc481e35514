# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin sbom."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sbom
short_description: Writes a host's bill of materials on the controller
version_added: 0.2.0
description:
  - Writes one CycloneDX 1.6 document a host, as JSON, with its images, their Debian and Python packages, the host's own
    packages, this collection, and each approved model as a C(machine-learning-model) component with its blobs, licence,
    source and approval.
  - Who depends on whom is in it. The host needs its images and they their packages, and the server needs its models.
  - The document is judged by CycloneDX's own strict schema before it is written, in one step, or not at all.
  - Its serial number follows from its content. A document that says the same is not written again, so its time is the
    time at which this content was first seen.
  - Runs wholly on the controller. Package lists of the images are read from O(package_lists), where the role
    P(rampart.ollama.sbom#role) puts them.
requirements:
  - cyclonedx-python-lib[json-validation] >= 11 on the controller
attributes:
  check_mode:
    support: full
    description: In check mode the document is made and judged, and not written.
  diff_mode:
    support: partial
    description: Shows which components come and go, not the document.
  idempotent:
    support: full
    description: The same content is not written again.
options:
  environment:
    description: The environment the host belongs to.
    type: str
    required: true
    choices: [dev, staging, prod, demo]
  host:
    description: The inventory name of the host.
    type: str
    required: true
  directory:
    description: Directory on the controller that receives the evidence. The document lies beside the host's evidence.
    type: path
    required: true
  collection_version:
    description: The version of the collection. Without it, that of the collection at hand.
    type: str
    default: ""
  images:
    description: The content of C(images.json), the fact C(images_lock) of the role P(rampart.ollama.images#role).
    type: dict
    required: true
  package_lists:
    description:
      - Directory on the controller with a file C(<64 hexadecimal digits>.txt) for each image, named by its identity.
      - An image without one is the finding C(SBOM-IMAGE-UNKNOWN).
    type: path
    required: true
  python_requirements:
    description: The hash-pinned requirements of the gateway, for the hashes of its Python packages.
    type: path
  host_packages:
    description: The host's packages, as M(ansible.builtin.package_facts) finds them.
    type: dict
    default: {}
  distribution:
    description: The host's distribution, such as V(debian).
    type: str
    default: ""
  distribution_version:
    description: Its version, such as V(13).
    type: str
    default: ""
  approvals:
    description: The approvals of the models that the host serves.
    type: list
    elements: dict
    default: []
  ollama_version:
    description: The version of Ollama in its image.
    type: str
    default: ""
  timestamp:
    description:
      - The time to write into the document, as C(YYYY-MM-DDTHH:MM:SSZ), to make it again byte by byte.
      - Without it, the present time when the content is new, and no change when it is not.
    type: str
    default: ""
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Write the bill of materials
  rampart.ollama.sbom:
    environment: "{{ rampart_environment }}"
    host: "{{ inventory_hostname }}"
    directory: reports
    images: "{{ images_lock }}"
    package_lists: "{{ images_artifacts_dir }}/packages"
    host_packages: "{{ ansible_facts['packages'] }}"
    distribution: "{{ ansible_facts['distribution'] }}"
    distribution_version: "{{ ansible_facts['distribution_version'] }}"
    approvals: "{{ model_store_approvals }}"
  register: bill
"""

RETURN = r"""
path:
  description: Where the document lies on the controller.
  returned: success
  type: str
  sample: reports/prod/h1/sbom.cdx.json
sha256:
  description: The sha256 of the document's bytes.
  returned: success
  type: str
  sample: 98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4
serial_number:
  description: The document's serial number, which follows from its content.
  returned: success
  type: str
  sample: urn:uuid:2f0b4f1c-7a0e-5a6c-8f51-2f7f1df0b0aa
counts:
  description: How many components, images and models are listed.
  returned: success
  type: dict
  sample: {components: 812, images: 5, models: 1}
findings:
  description: What could not be listed, with C(code), C(severity), C(subject), C(evidence) and C(remedy).
  returned: always
  type: list
  elements: dict
  sample: []
checks:
  description: The check C(sbom-written), V(unknown) while something is not listed that should be.
  returned: success
  type: list
  elements: dict
  sample:
    - id: sbom-written
      status: passed
      evidence: 812 components, sha256 98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4
"""
