"""What is done to a domain's rows before the network gets them: fitted on the domains, and carried by the model."""
