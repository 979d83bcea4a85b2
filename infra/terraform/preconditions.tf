# What would only fail later, at night: a plan that violates one of these is refused.
resource "terraform_data" "preconditions" {
  lifecycle {
    precondition {
      condition = (
        local.most_connections + local.reserved_connections <= var.database_max_connections
      )
      error_message = join(" ", [
        "The functions may open ${local.most_connections} connections and",
        "${local.reserved_connections} are reserved, but database_max_connections is",
        "${var.database_max_connections}: raise it, or lower max_instances or database_pool",
        "in pipeline.yaml.",
      ])
    }

    precondition {
      condition = alltrue([
        for _, function in local.with_database :
        function.database_pool <= function.concurrency
      ])
      error_message = join(" ", [
        "A function opens no more connections than it serves messages at a time: in",
        "pipeline.yaml, database_pool must not exceed concurrency.",
      ])
    }

    precondition {
      condition = alltrue([
        for _, subscription in local.subscriptions :
        local.functions[subscription.function].timeout_seconds < subscription.ack_deadline_seconds
        && subscription.ack_deadline_seconds <= 600
      ])
      error_message = join(" ", [
        "A function must time out before its message is delivered again: in pipeline.yaml,",
        "timeout_seconds must be below ack_deadline_seconds, and that at most 600.",
      ])
    }

    precondition {
      # With more tasks that ask for a slot than there are slots in a minute, the last one
      # would wait longer than it may.
      condition = alltrue([
        for name, function in local.functions :
        function.max_instances
        * try(tonumber(function.environment.MOST_ACTIVE), function.concurrency)
        <= 60 * (var.kiwoom_mode == "real" ? 4 : 0.9)
        if local.source_of[name] == "collector"
      ])
      error_message = join(" ", [
        "A collector works on more tasks at a time than the broker answers requests in a",
        "minute (4/s real, 0.9/s mock): lower its max_instances, concurrency or MOST_ACTIVE",
        "in pipeline.yaml.",
      ])
    }

    precondition {
      condition = local.pipeline.time_zone == "Asia/Seoul"
      error_message = join(" ", [
        "The schedules are those of the Korean exchange: time_zone in pipeline.yaml must be",
        "Asia/Seoul.",
      ])
    }

    precondition {
      condition = startswith(var.region, "asia-northeast")
      error_message = join(" ", [
        "The broker is in Seoul: region must be asia-northeast3, or another asia-northeast",
        "region.",
      ])
    }

    precondition {
      condition = toset(keys(local.packages)) == toset(
        concat(["export", "migrate"], values(local.source_of))
      )
      error_message = join(" ", [
        "The zips in build/ do not match the functions in pipeline.yaml: run make package.",
      ])
    }
  }
}
