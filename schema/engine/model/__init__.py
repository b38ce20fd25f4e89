"""What a model declares: records, fields, relations, actions, input models and access rules."""
