"""How much memory a command takes while it waits for its commit."""

from headrace.core.commands import Command, Completions, Poll, PutDocument, PutModule, Submit


def cost_bytes(command: Command) -> int:
    """Return the bytes of its payload: what memory it takes until its commit. Cost: O(parts)."""
    if isinstance(command, Poll):
        cost = 0
        for told in command.reports:
            if isinstance(told, Completions):
                cost += sum(map(len, told.bodies))
            else:
                cost += len(told.body) + len(told.checkpoint or b"")
        for news in command.progress:
            cost += len(news.log)
            for _, data in news.events:
                cost += len(data)
        return cost
    if isinstance(command, Submit):
        specs = sum([sum(map(len, new.specs)) for new in command.jobs])
        return specs + sum([len(module.data) for module in command.modules])
    if isinstance(command, PutModule):
        return len(command.module.data)
    if isinstance(command, PutDocument):
        return len(command.body)
    return 0
