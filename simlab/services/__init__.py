"""Services: what agents call. A service is an agent that answers messages which carry calls."""
