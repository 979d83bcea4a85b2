# Who may do what; tests/integration/test_terraform.py has the same as a table, and fails
# on anything more.

locals {
  this_instance = join(" && ", [
    "resource.type == 'sqladmin.googleapis.com/Instance'",
    "resource.name == '${local.instance_path}'",
  ])
  instance_path = "projects/${var.project_id}/instances/${google_sql_database_instance.this.name}"
}

# Functions.

resource "google_pubsub_topic_iam_member" "function" {
  for_each = local.publishers

  topic  = google_pubsub_topic.this[each.value.topic].name
  role   = "roles/pubsub.publisher"
  member = google_service_account.function[each.value.function].member
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_readers

  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.value.function].member
}

resource "google_secret_manager_secret_iam_member" "adder" {
  for_each = local.secret_adders

  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretVersionManager"
  member    = google_service_account.function[each.value.function].member
}

# Metadata only: this role cannot read what a version holds.
resource "google_secret_manager_secret_iam_member" "viewer" {
  for_each = local.secret_viewers

  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.viewer"
  member    = google_service_account.function[each.value.function].member
}

resource "google_project_iam_member" "database" {
  for_each = {
    for pair in setproduct(
      concat(keys(local.with_database), ["migrator"]),
      ["roles/cloudsql.client", "roles/cloudsql.instanceUser"],
    ) : "${pair[0]}/${pair[1]}" => { account = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member = (
    each.value.account == "migrator"
    ? google_service_account.migrator.member
    : google_service_account.function[each.value.account].member
  )

  condition {
    title      = "only-this-instance"
    expression = local.this_instance
  }
}

# People who read: they sign in to Cloud SQL Studio, or by the connector from inside.
resource "google_project_iam_member" "reader" {
  for_each = {
    for pair in setproduct(var.database_readers, [
      "roles/cloudsql.client",
      "roles/cloudsql.instanceUser",
      "roles/cloudsql.studioUser",
    ]) : "${pair[0]}/${pair[1]}" => { person = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = "user:${each.value.person}"

  # Studio lists the instances of the project, which is no right to one of them.
  dynamic "condition" {
    for_each = each.value.role == "roles/cloudsql.studioUser" ? [] : [local.this_instance]

    content {
      title      = "only-this-instance"
      expression = condition.value
    }
  }
}

# Pushes, people and schedules.

resource "google_cloud_run_service_iam_member" "push" {
  for_each = local.pushed_functions

  service  = google_cloudfunctions2_function.this[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.push[each.key].member
}

resource "google_cloud_run_service_iam_member" "viewer" {
  for_each = local.http_invokers

  service  = google_cloudfunctions2_function.this[each.value.function].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value.member
}

resource "google_service_account_iam_member" "push_token" {
  for_each = local.pushed_functions

  service_account_id = google_service_account.push[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.agents.pubsub
}

# Without these two Pub/Sub would never move a message to the dead letters, and not say so.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = toset([for _, subscription in local.subscriptions : subscription.dead_letter_topic])

  topic  = google_pubsub_topic.this[each.key].name
  role   = "roles/pubsub.publisher"
  member = local.agents.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = local.subscriptions

  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.agents.pubsub
}

resource "google_pubsub_topic_iam_member" "scheduler" {
  for_each = local.scheduled_topics

  topic  = google_pubsub_topic.this[each.key].name
  role   = "roles/pubsub.publisher"
  member = local.agents.scheduler
}

# Builds.

resource "google_project_iam_member" "builder" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}

# Cloud Functions copies each zip into a bucket of its own, which is made at the first build.
resource "google_project_iam_member" "builder_sources" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.builder.member

  condition {
    title      = "only-copies-of-sources"
    expression = "resource.name.startsWith('projects/_/buckets/gcf-v2-sources-')"
  }
}

# The images of the jobs are built from their zips.
resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.builder.member
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  repository = google_artifact_registry_repository.images.repository_id
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.builder.member
}
