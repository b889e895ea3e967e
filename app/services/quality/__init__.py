"""Agreement, labeler quality and adjudication."""
