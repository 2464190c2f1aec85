"""What `import pellucid as pl` offers: each verb one function, and what the command of the same name calls."""
