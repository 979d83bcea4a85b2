# Sources of the functions. The name of a zip has the hash of its content, so an unchanged
# function is not deployed again, and the one before is still there to go back to.
resource "google_storage_bucket" "sources" {
  #checkov:skip=CKV_GCP_62:It holds the code of this repository; audit logs tell who read it

  name                        = "${var.project_id}-pipeline-sources"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  versioning {
    enabled = true
  }

  depends_on = [time_sleep.apis]
}

resource "google_storage_bucket_object" "package" {
  for_each = toset(values(local.source_of))

  # Where there is none, a precondition has said so.
  name   = lookup(local.packages, each.key, "missing.zip")
  bucket = google_storage_bucket.sources.name
  source = "${local.build}/${lookup(local.packages, each.key, "missing.zip")}"
}

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google's own keys encrypt it; the code is no secret

  repository_id = "functions"
  location      = var.region
  format        = "DOCKER"
  description   = "Images that Cloud Build makes of the sources"

  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = 5
    }
  }

  cleanup_policies {
    id     = "drop-the-old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [time_sleep.apis]
}
