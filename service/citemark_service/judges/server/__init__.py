"""The servers of a judge: transports, slots, health, retries and priming."""
