"""AWS Lambda on one person's machine: its Runtime, Extensions and Invoke APIs, its front doors, and real processes.

A front door makes an event of an HTTP request, the service finds or starts an environment for it, and the runtime in
there fetches it, and answers, over the environment's own Runtime API. Environments are processes or containers, which
stand still while they have nothing to do.
"""
