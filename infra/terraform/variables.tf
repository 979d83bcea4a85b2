variable "alert_email" {
  description = "Address that alerts are sent to."
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alert_email))
    error_message = "alert_email must be an e-mail address."
  }
}

variable "billing_account" {
  description = "Billing account for the monthly budget; null creates no budget."
  type        = string
  default     = null

  validation {
    condition = (
      var.billing_account == null
      || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    )
    error_message = "billing_account must look like 012345-6789AB-CDEF01, or be null."
  }
}

variable "budget_krw" {
  description = "Monthly budget in KRW; alert_email is notified at 50, 90 and 100 %."
  type        = number
  default     = 150000

  validation {
    condition     = var.budget_krw >= 1000
    error_message = "budget_krw must be at least 1000."
  }
}

variable "candle_readers" {
  description = "Who may read the exported candles: members such as group:desk@example.com."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for member in var.candle_readers :
      can(regex("^(user|group|serviceAccount|domain):[^ ]+$", member))
    ])
    error_message = join(" ", [
      "candle_readers must be members such as user:me@example.com; the whole internet is",
      "none.",
    ])
  }
}

variable "database_high_availability" {
  description = "Whether a standby runs in a second zone; doubles the price of the database."
  type        = bool
  default     = false
}

variable "database_max_connections" {
  description = "PostgreSQL's max_connections; see docs/scale.md."
  type        = number
  default     = 100

  validation {
    condition     = var.database_max_connections >= 25 && var.database_max_connections <= 1000
    error_message = "database_max_connections must be between 25 and 1000."
  }
}

variable "database_readers" {
  description = "E-mail addresses of people who may read the database in Cloud SQL Studio."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for address in var.database_readers : can(regex("^[^@ A-Z]+@[^@ A-Z]+\\.[^@ A-Z]+$", address))
    ])
    error_message = "database_readers must be e-mail addresses of Google accounts, in lowercase."
  }
}

variable "database_tier" {
  description = "Machine type of the database."
  type        = string
  default     = "db-g1-small"

  validation {
    condition     = can(regex("^db-(f1-micro|g1-small|custom-[0-9]+-[0-9]+)$", var.database_tier))
    error_message = "database_tier must be a tier such as db-g1-small or db-custom-2-7680."
  }
}

variable "deletion_protection" {
  description = "Whether the database is protected from being destroyed."
  type        = bool
  default     = true
}

variable "environment" {
  description = "Which environment this is: dev or prod."
  type        = string

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment must be dev or prod."
  }
}

variable "export_candles" {
  description = "Whether a job exports settled candles to a bucket every morning."
  type        = bool
  default     = false
}

variable "export_to_bigquery" {
  description = "Whether BigQuery has the exported candles as views."
  type        = bool
  default     = false

  validation {
    condition     = !var.export_to_bigquery || var.export_candles
    error_message = "export_to_bigquery needs an export: set export_candles to true."
  }
}

variable "kiwoom_mode" {
  description = "Broker host that the app key belongs to: real or mock."
  type        = string
  default     = "real"

  validation {
    condition     = contains(["real", "mock"], var.kiwoom_mode)
    error_message = "kiwoom_mode must be real or mock."
  }
}

variable "project_id" {
  description = "The Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be 6 to 30 lowercase letters, digits and hyphens."
  }
}

variable "region" {
  description = "Region of all resources: near the broker, which serves registered addresses only."
  type        = string
  default     = "asia-northeast3"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]$", var.region))
    error_message = "region must be a region such as asia-northeast3."
  }
}

variable "report_by_email" {
  description = "Whether alert_email is also sent each daily report."
  type        = bool
  default     = false
}

variable "schedules_paused" {
  description = "Whether the schedules are paused; in dev nothing is collected unless requested."
  type        = bool
  default     = false
}

variable "status_viewers" {
  description = "Who may open the status page: members such as group:desk@example.com."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for member in var.status_viewers :
      can(regex("^(user|group|serviceAccount|domain):[^ ]+$", member))
    ])
    error_message = join(" ", [
      "status_viewers must be members such as user:me@example.com or group:desk@example.com,",
      "and never the whole internet.",
    ])
  }
}
