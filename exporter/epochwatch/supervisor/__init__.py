"""Watches commands from outside: `epochwatch run`, `epochwatch schedule` and `epochwatch jobs`.

What is to run (jobspec) → one run of it (runner) → how it went (ended) → what is known of the job (jobbook) →
/metrics (collector) and messages (events, herald). Who builds on it:

- `JobSpec` is a job's description, checked; `command` makes one of flags, a scheduler one of each entry of a file.
- `JobBook` is the plain state of one job, as /metrics shows it; `Keeper` keeps it and the job's state file alike.
- `Supervisor(settings, books)` serves the books and owns the herald and the nursery; one for a process, whatever
  number of jobs.
- `supervisor.runner(book).run(signals)` makes one run, restarts included, and gives an `Ended`; it writes the start and
  the end into the book and tells them. It may be called on any thread, again and again.
- `Signals` is how the outside reaches a run: `signals.put(SIGTERM)` from a handler or another thread; each run has one
  of its own. It passes on what `received` lets in on the main thread.
- `supervisor.nursery.reap_orphans()` is to be called each second or so where nothing runs and this process is a
  container's first.

When a job starts (cron, timetable) → who starts it (scheduledjob, scheduler; keptrun where something else does) → what
is known of it over restarts (state, statefile, keeper) → who sees that (jobtable, publishing). A job has two locks, on
files beside its state: one is held while it runs, by the command too; the other by the scheduler that has charge of it.
"""
