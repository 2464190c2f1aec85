"""How far explanations can be believed: the measures, the samples they are taken on, the table."""
