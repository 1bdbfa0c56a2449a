"""When and where a call goes: slots, servers, their health, and priming."""
