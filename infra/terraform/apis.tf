locals {
  optional_apis = {
    "billingbudgets.googleapis.com" = var.billing_account != null
    "bigquery.googleapis.com"       = var.export_to_bigquery
  }
  apis = concat([for api, is_used in local.optional_apis : api if is_used], [
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
  ])
}

resource "google_project_service" "this" {
  for_each = toset(local.apis)

  service            = each.key
  disable_on_destroy = false
}
