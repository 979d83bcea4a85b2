# Subscriptions of our own instead of event triggers, which hide theirs: no dead letter,
# no back-off, and a day until a message is lost.
resource "google_pubsub_subscription" "push" {
  for_each = local.subscriptions

  name                       = each.key
  topic                      = google_pubsub_topic.this[each.value.topic].id
  ack_deadline_seconds       = each.value.ack_deadline_seconds
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }

  push_config {
    # The Functions Framework reads the topic from the path.
    push_endpoint = join("/", [
      local.uri_of[each.value.function],
      "projects/${var.project_id}/topics/${each.value.topic}",
    ])

    oidc_token {
      service_account_email = google_service_account.push[each.value.function].email
      audience              = local.uri_of[each.value.function]
    }
  }

  retry_policy {
    minimum_backoff = "${each.value.minimum_backoff_seconds}s"
    maximum_backoff = "${each.value.maximum_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.this[each.value.dead_letter_topic].id
    max_delivery_attempts = each.value.max_delivery_attempts
  }

  depends_on = [google_cloud_run_service_iam_member.push]
}

# Where an operator finds what could not be handled.
resource "google_pubsub_subscription" "dead_letters" {
  for_each = local.pipeline.dead_letter_subscriptions

  name                       = each.key
  topic                      = google_pubsub_topic.this[each.value.topic].id
  ack_deadline_seconds       = 60
  message_retention_duration = "${each.value.retention_seconds}s"

  expiration_policy {
    ttl = ""
  }
}
