"""What each page of a lead opens with: a finding, how serious it is, and what to do about it."""
