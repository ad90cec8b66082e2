"""The loop: J = risk + λ · method(source, target), its schedules, processes, checkpoints and what can go wrong."""
