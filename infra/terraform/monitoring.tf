locals {
  runbook = "docs/runbook.md"

  # Canonical log lines of the functions, counted. The filter is on the event's name.
  log_metrics = {
    collected       = { event = "collected", description = "Finished tasks", label = "timeframe" }
    stale-series    = { event = "stale_series", description = "Ticks and heartbeats that found stale series", label = "timeframe" }
    heartbeat       = { event = "heartbeat", description = "Heartbeats that the dispatcher answered", label = null }
    token-checked   = { event = "(token_refreshed|token_kept)", description = "Checks that found or issued a valid token", label = null }
    token-contested = { event = "token_contested", description = "Tokens that another program ended", label = null }
    horizon-near    = { event = "calendar_horizon_near", description = "Syncs that found a calendar about to end", label = null }
    unforeseen      = { event = "unforeseen", description = "Bugs", label = null }
  }

  charts = {
    "Tasks done"              = { metric = "logging.googleapis.com/user/pipeline/collected", aligner = "ALIGN_DELTA" }
    "Ticks with stale series" = { metric = "logging.googleapis.com/user/pipeline/stale-series", aligner = "ALIGN_DELTA" }
    "Waiting messages"        = { metric = "pubsub.googleapis.com/subscription/num_undelivered_messages", aligner = "ALIGN_MAX" }
    "Oldest message, seconds" = { metric = "pubsub.googleapis.com/subscription/oldest_unacked_message_age", aligner = "ALIGN_MAX" }
    "Responses of functions"  = { metric = "run.googleapis.com/request_count", aligner = "ALIGN_DELTA" }
    "Instances"               = { metric = "run.googleapis.com/container/instance_count", aligner = "ALIGN_MAX" }
    "Database connections"    = { metric = "cloudsql.googleapis.com/database/postgresql/num_backends", aligner = "ALIGN_MAX" }
    "Database disk, bytes"    = { metric = "cloudsql.googleapis.com/database/disk/bytes_used", aligner = "ALIGN_MAX" }
  }

  widgets = [for title, chart in local.charts : {
    title = title
    xyChart = {
      dataSets = [{
        plotType = "LINE"
        timeSeriesQuery = {
          timeSeriesFilter = {
            filter      = "metric.type = \"${chart.metric}\""
            aggregation = { alignmentPeriod = "300s", perSeriesAligner = chart.aligner }
          }
        }
      }]
    }
  }]

  alerts = {
    stale-series = {
      title    = "Stale series"
      filter   = "metric.type = \"logging.googleapis.com/user/pipeline/stale-series\" AND resource.type = \"cloud_run_revision\""
      above    = 0
      lasts    = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      severity = "CRITICAL"
    }
    dead-letters = {
      title    = "Messages in the dead-letter topic"
      filter   = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = monitoring.regex.full_match(\"${join("|", keys(local.pipeline.dead_letter_subscriptions))}\")"
      above    = 0
      lasts    = "0s"
      aligner  = "ALIGN_MAX"
      reducer  = "REDUCE_SUM"
      severity = "ERROR"
    }
    oldest-message = {
      title    = "A message has been waiting for more than an hour"
      filter   = "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = monitoring.regex.full_match(\"${join("|", keys(local.subscriptions))}\")"
      above    = 3600
      lasts    = "300s"
      aligner  = "ALIGN_MAX"
      reducer  = "REDUCE_MAX"
      severity = "ERROR"
    }
    error-rate = {
      title    = "Functions fail"
      filter   = "metric.type = \"run.googleapis.com/request_count\" AND resource.type = \"cloud_run_revision\" AND metric.labels.response_code_class = \"5xx\""
      above    = 20
      lasts    = "600s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      severity = "WARNING"
    }
    database-connections = {
      title    = "Database connections are running out"
      filter   = "metric.type = \"cloudsql.googleapis.com/database/postgresql/num_backends\" AND resource.type = \"cloudsql_database\""
      above    = floor(0.8 * var.database_max_connections)
      lasts    = "300s"
      aligner  = "ALIGN_MAX"
      reducer  = "REDUCE_SUM"
      severity = "WARNING"
    }
    token-contested = {
      title    = "Another program issues tokens for the app key"
      filter   = "metric.type = \"logging.googleapis.com/user/pipeline/token-contested\" AND resource.type = \"cloud_run_revision\""
      above    = 0
      lasts    = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      severity = "ERROR"
    }
    calendar-horizon = {
      title    = "The trading calendar ends within 60 days"
      filter   = "metric.type = \"logging.googleapis.com/user/pipeline/horizon-near\" AND resource.type = \"cloud_run_revision\""
      above    = 0
      lasts    = "0s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      severity = "WARNING"
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  display_name = "On-call"
  type         = "email"

  labels = {
    email_address = var.alert_email
  }

  depends_on = [google_project_service.this]
}

resource "google_logging_metric" "this" {
  for_each = local.log_metrics

  name        = "pipeline/${each.key}"
  description = each.value.description
  filter      = "resource.type = \"cloud_run_revision\" AND jsonPayload.event =~ \"^${each.value.event}$\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = each.value.label == null ? [] : [each.value.label]

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  label_extractors = each.value.label == null ? null : {
    (each.value.label) = "EXTRACT(jsonPayload.${each.value.label})"
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.alerts

  display_name          = each.value.title
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = each.value.lasts

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "[${var.environment}] ${each.value.title}"
    content   = "${local.runbook}#${each.key}"
  }

  depends_on = [time_sleep.log_metrics]
}

# Silence is the alarm here, so something must speak regularly: the token every six hours,
# the heartbeat every hour, both on every day. An absence is noticed only after a first
# point, and for at most 23.5 hours: docs/deploy.md has the check that both have spoken.
resource "google_monitoring_alert_policy" "silence" {
  for_each = {
    token-age = {
      title     = "Token not refreshed"
      condition = "No valid token has been found or issued for 13 hours"
      metric    = "token-checked"
      duration  = "46800s"
    }
    ticks-silent = {
      title     = "Ticks are silent"
      condition = "The dispatcher has answered no heartbeat for three hours"
      metric    = "heartbeat"
      duration  = "10800s"
    }
  }

  display_name          = each.value.title
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.condition

    condition_absent {
      filter   = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.this[each.value.metric].name}\" AND resource.type = \"cloud_run_revision\""
      duration = each.value.duration

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "[${var.environment}] ${each.value.title}"
    content   = "${local.runbook}#${each.key}"
  }

  depends_on = [time_sleep.log_metrics]
}

moved {
  from = google_monitoring_alert_policy.token_age
  to   = google_monitoring_alert_policy.silence["token-age"]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "Pipeline, ${var.environment}"
    gridLayout = {
      columns = "2"
      widgets = local.widgets
    }
  })

  depends_on = [google_logging_metric.this]
}
