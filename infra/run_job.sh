#!/usr/bin/env bash
# Run the migration job, wait for its end, and show its log; fails if the job fails.
# run_job.sh PROJECT REGION
set -euo pipefail

project=$1
region=$2
failed=0

began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gcloud run jobs execute migrate --project="$project" --region="$region" --wait || failed=1
# Lines take some seconds to arrive.
sleep "${LOG_SECONDS:-10}"
gcloud logging read --project="$project" --order=asc --format='value(textPayload)' \
  "resource.type=cloud_run_job AND resource.labels.job_name=migrate AND timestamp>=\"$began\""
exit $failed
