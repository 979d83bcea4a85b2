"""What the broker has, read by other code than the pipeline's."""

from __future__ import annotations

import requests

from infra.local.broker.server import APP_KEY, SECRET_KEY

CALLS = {
    "5m": ("ka10080", "stk_min_pole_chart_qry", {"tic_scope": "5"}, 1),
    "30m": ("ka10080", "stk_min_pole_chart_qry", {"tic_scope": "30"}, 1),
    "60m": ("ka10080", "stk_min_pole_chart_qry", {"tic_scope": "60"}, 1),
    "1d": ("ka10081", "stk_dt_pole_chart_qry", {}, 1_000_000),
    "1w": ("ka10082", "stk_stk_pole_chart_qry", {}, 1),
}


def broker_rows(base_url, stock_code, timeframe, since):
    """All rows of the broker since a day, read by other code than the pipeline's."""
    api_id, name, extra, unit = CALLS[timeframe]
    keys = {
        "grant_type": "client_credentials",
        "appkey": APP_KEY,
        "secretkey": SECRET_KEY,
    }
    token = requests.post(f"{base_url}/oauth2/token", json=keys, timeout=10).json()[
        "token"
    ]
    headers = {"api-id": api_id, "authorization": f"Bearer {token}"}
    body = {"stk_cd": stock_code, "base_dt": "20261120", "upd_stkpc_tp": "1"} | extra
    rows = {}
    while True:
        reply = requests.post(
            f"{base_url}/api/dostk/chart", json=body, headers=headers, timeout=10
        )
        for row in reply.json()[name]:
            opened_at = row.get("cntr_tm") or row["dt"] + "000000"
            prices = ("open_pric", "high_pric", "low_pric", "cur_prc")
            value = row.get("trde_prica")
            rows[opened_at] = (
                *(abs(int(row[price])) for price in prices),
                int(row["trde_qty"]),
                value and int(value) * unit,
            )
        if reply.headers["cont-yn"] == "N":
            return {at: values for at, values in rows.items() if at[:8] >= since}
        headers |= {"cont-yn": "Y", "next-key": reply.headers["next-key"]}
