"""A name → a backbone; backbone and head → a network whose layers can be seen; features of a frozen backbone."""
