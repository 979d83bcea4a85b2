# Google answers that these exist before everything that uses them knows it, and no
# resource of the provider waits for that.

# An API answers "has not been used in project before or it is disabled" for some time after
# it has been enabled; Google asks to wait a few minutes.
resource "time_sleep" "apis" {
  create_duration = "120s"

  triggers = {
    apis = join(",", sort(local.apis))
  }

  depends_on = [google_project_service.this]
}

# A build seconds after its account was given rights fails half of the time
# (hashicorp/terraform-provider-google issue 20571).
resource "time_sleep" "builder_rights" {
  create_duration = "120s"

  depends_on = [
    google_artifact_registry_repository_iam_member.builder,
    google_project_iam_member.builder,
    google_project_iam_member.builder_sources,
    google_storage_bucket_iam_member.builder,
  ]
}

# An alert on a log-based metric that is younger than ten minutes is refused with 404
# (the same repository, issue 11102). At the first apply the database takes as long.
resource "time_sleep" "log_metrics" {
  create_duration = "600s"

  triggers = {
    metrics = join(",", sort(keys(google_logging_metric.this)))
  }
}
