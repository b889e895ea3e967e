"""Charts as files for spreadsheets."""

from fastapi import Response

from app.web.charts import Chart, csv_text


def csv(chart: Chart) -> Response:
    """Return all points of a chart as a file."""
    headers = {
        "content-disposition": f'attachment; filename="{chart.file_name}.csv"',
        "cache-control": "no-store",
    }
    return Response(csv_text(chart), headers=headers, media_type="text/csv; charset=utf-8")
