"""What monitoring is told: counters made of audit events, gauges that are read when somebody asks. No Twisted."""
