locals {
  runbook = "docs/runbook.md"
  # Where the counts of the log are, in names of metrics.
  counted = "logging.googleapis.com/user/pipeline"

  # Canonical log lines of the functions, counted. The filter is on the event's name.
  log_metrics = {
    collected = {
      event       = "collected"
      description = "Finished tasks"
      label       = "timeframe"
    }
    late = {
      event       = "late_series"
      description = "Ticks and heartbeats that found late series"
      label       = "timeframe"
    }
    reported = {
      event       = "(daily_report|report_kept)"
      description = "Reports of days that were made, or found to be there"
      label       = null
    }
    missing = {
      event       = "daily_report"
      only        = "jsonPayload.missing > 0"
      description = "Reports of days with candles that are missing"
      label       = null
    }
    stale-series = {
      event       = "stale_series"
      description = "Ticks and heartbeats that found series stale, and not late"
      label       = "timeframe"
    }
    heartbeat = {
      event       = "heartbeat"
      description = "Heartbeats that the dispatcher answered"
      label       = null
    }
    token-checked = {
      event       = "(token_refreshed|token_kept)"
      description = "Checks that found or issued a valid token"
      label       = null
    }
    token-contested = {
      event       = "token_contested"
      description = "Tokens that another program ended"
      label       = null
    }
    horizon-near = {
      event       = "calendar_horizon_near"
      description = "Syncs that found a calendar about to end"
      label       = null
    }
    unforeseen = {
      event       = "unforeseen"
      description = "Bugs"
      label       = null
    }
  }

  charts = {
    "Tasks done" = {
      metric             = "${local.counted}/collected"
      per_series_aligner = "ALIGN_DELTA"
    }
    "Ticks with late series" = {
      metric             = "${local.counted}/late"
      per_series_aligner = "ALIGN_DELTA"
    }
    "Waiting messages" = {
      metric             = "pubsub.googleapis.com/subscription/num_undelivered_messages"
      per_series_aligner = "ALIGN_MAX"
    }
    "Oldest message, seconds" = {
      metric             = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
      per_series_aligner = "ALIGN_MAX"
    }
    "Responses of functions" = {
      metric             = "run.googleapis.com/request_count"
      per_series_aligner = "ALIGN_DELTA"
    }
    "Instances" = {
      metric             = "run.googleapis.com/container/instance_count"
      per_series_aligner = "ALIGN_MAX"
    }
    "Database connections" = {
      metric             = "cloudsql.googleapis.com/database/postgresql/num_backends"
      per_series_aligner = "ALIGN_MAX"
    }
    "Database disk, bytes" = {
      metric             = "cloudsql.googleapis.com/database/disk/bytes_used"
      per_series_aligner = "ALIGN_MAX"
    }
  }

  widgets = [for title, chart in local.charts : {
    title = title
    xyChart = {
      dataSets = [{
        plotType = "LINE"
        timeSeriesQuery = {
          timeSeriesFilter = {
            filter = "metric.type = \"${chart.metric}\""
            aggregation = {
              alignmentPeriod  = "300s"
              perSeriesAligner = chart.per_series_aligner
            }
          }
        }
      }]
    }
  }]

  subscriptions_of = {
    dead_letters = join("|", keys(local.pipeline.dead_letter_subscriptions))
    work         = join("|", keys(local.subscriptions))
  }

  # On the log: one line is enough.
  alarms = {
    late = {
      title    = "Series are late"
      metric   = "late"
      severity = "CRITICAL"
    }
    missing = {
      title    = "Candles are missing"
      metric   = "missing"
      severity = "ERROR"
    }
    stale-series = {
      title    = "Stale series"
      metric   = "stale-series"
      severity = "CRITICAL"
    }
    token-contested = {
      title    = "Another program issues tokens for the app key"
      metric   = "token-contested"
      severity = "ERROR"
    }
    calendar-horizon = {
      title    = "The trading calendar ends within 60 days"
      metric   = "horizon-near"
      severity = "WARNING"
    }
  }

  # On a level, for some time. Arguments have the provider's own names; a filter is the
  # metric and the resource that it belongs to, and what else must hold.
  levels = {
    dead-letters = {
      title    = "Messages in the dead-letter topic"
      metric   = "pubsub.googleapis.com/subscription/num_undelivered_messages"
      resource = "pubsub_subscription"
      only = join("", [
        "resource.labels.subscription_id = ",
        "monitoring.regex.full_match(\"${local.subscriptions_of.dead_letters}\")",
      ])
      threshold_value      = 0
      duration             = "0s"
      per_series_aligner   = "ALIGN_MAX"
      cross_series_reducer = "REDUCE_SUM"
      severity             = "ERROR"
    }
    oldest-message = {
      title    = "A message has been waiting for more than an hour"
      metric   = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
      resource = "pubsub_subscription"
      only = join("", [
        "resource.labels.subscription_id = ",
        "monitoring.regex.full_match(\"${local.subscriptions_of.work}\")",
      ])
      threshold_value      = 3600
      duration             = "300s"
      per_series_aligner   = "ALIGN_MAX"
      cross_series_reducer = "REDUCE_MAX"
      severity             = "ERROR"
    }
    error-rate = {
      title                = "Functions fail"
      metric               = "run.googleapis.com/request_count"
      resource             = "cloud_run_revision"
      only                 = "metric.labels.response_code_class = \"5xx\""
      threshold_value      = 20
      duration             = "600s"
      per_series_aligner   = "ALIGN_DELTA"
      cross_series_reducer = "REDUCE_SUM"
      severity             = "WARNING"
    }
    database-connections = {
      title                = "Database connections are running out"
      metric               = "cloudsql.googleapis.com/database/postgresql/num_backends"
      resource             = "cloudsql_database"
      only                 = null
      threshold_value      = floor(0.8 * var.database_max_connections)
      duration             = "300s"
      per_series_aligner   = "ALIGN_MAX"
      cross_series_reducer = "REDUCE_SUM"
      severity             = "WARNING"
    }
  }

  alerts = merge(local.levels, {
    for name, alarm in local.alarms : name => {
      title                = alarm.title
      metric               = "${local.counted}/${alarm.metric}"
      resource             = "cloud_run_revision"
      only                 = null
      threshold_value      = 0
      duration             = "0s"
      per_series_aligner   = "ALIGN_DELTA"
      cross_series_reducer = "REDUCE_SUM"
      severity             = alarm.severity
    }
  })
}

resource "google_monitoring_notification_channel" "email" {
  display_name = "On-call"
  type         = "email"

  labels = {
    email_address = var.alert_email
  }

  depends_on = [time_sleep.apis]
}

resource "google_logging_metric" "this" {
  for_each = local.log_metrics

  name        = "pipeline/${each.key}"
  description = each.value.description
  filter = join(" AND ", compact([
    "resource.type = \"cloud_run_revision\"",
    "jsonPayload.event =~ \"^${each.value.event}$\"",
    try(each.value.only, null),
  ]))

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

  depends_on = [time_sleep.apis]
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
      filter = join(" AND ", compact([
        "metric.type = \"${each.value.metric}\"",
        "resource.type = \"${each.value.resource}\"",
        each.value.only,
      ]))
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold_value
      duration        = each.value.duration

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.per_series_aligner
        cross_series_reducer = each.value.cross_series_reducer
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

# Silence is the alarm here, so something must speak regularly, and on every day: the token
# every six hours, the heartbeat every hour, the report every twelve. An absence is noticed
# only after a first point, and for at most 23.5 hours: docs/deploy.md has the check that
# all have spoken.
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
    no-report = {
      title     = "No daily report"
      condition = "No report of a day has been made or found for 14 hours"
      metric    = "reported"
      duration  = "50400s"
    }
  }

  display_name          = each.value.title
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = each.value.condition

    condition_absent {
      filter = join(" AND ", [
        "metric.type = \"${local.counted}/${each.value.metric}\"",
        "resource.type = \"cloud_run_revision\"",
      ])
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

# No alarm: the line of each report as an e-mail, to whoever wants it. Google closes an
# incident by itself, and would otherwise not open the next day's.
resource "google_monitoring_alert_policy" "report" {
  count = var.report_by_email ? 1 : 0

  display_name          = "Daily report"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "The report of a day was made"

    condition_matched_log {
      filter = join(" AND ", [
        "resource.type = \"cloud_run_revision\"",
        "jsonPayload.event = \"daily_report\"",
      ])

      label_extractors = {
        day     = "EXTRACT(jsonPayload.day)"
        summary = "EXTRACT(jsonPayload.summary)"
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"

    notification_rate_limit {
      period = "300s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "[${var.environment}] $${log.extracted_label.summary}"
    content   = "The page has the numbers: /reports/$${log.extracted_label.day}"
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
