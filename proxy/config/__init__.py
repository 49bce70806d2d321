"""From policy files to policies: text -> tree -> schema -> `proxy.policy.rules.Policy`. The only reader of YAML."""
