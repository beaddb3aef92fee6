"""What came out of a run: pictures, probes, plans, figures beside baselines; printed and stored."""
