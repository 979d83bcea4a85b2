#!/usr/bin/env bash
# Check the format of the stack and validate it, as far as that is possible here. TFCHECK
# names a command that validates with a stand-in for the registry of providers.
set -euo pipefail
cd "$(dirname "$0")/terraform"

command -v terraform >/dev/null || { echo "no terraform: the stack is not validated" && exit; }
terraform fmt -check -diff -recursive
beside=../../../shared/tools/terraform-google-schema/tfcheck
check=${TFCHECK:-$([ ! -x $beside ] || realpath $beside)}
if [ -n "$check" ]; then
  "$check" "$PWD"
elif [ -d .terraform/providers ]; then
  terraform validate
else
  echo "no providers here: terraform init -backend=false gets them; the stack is not validated"
fi
