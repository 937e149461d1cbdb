//! The one thread that uses the database. What waits for it while it commits is committed
//! together: one sync of the disk for all of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::crash;
use crate::store::StoreFault;

use super::database::{self, Trouble};

/// At most so many calls are answered by one transaction, so that the first does not wait for long.
const GROUP: usize = 64;

/// Where work for the thread is left. Dropping it waits until all of it is done.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread with an open connection.
    pub(super) fn start(path: PathBuf, connection: Connection) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let mut link = Link {
            path,
            connection: Some(connection),
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || link.serve(&queue))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Reads what is committed.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreFault> {
        self.ask(Job::Read, work).await
    }

    /// Writes in a transaction, all or nothing, and returns once it is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreFault> {
        self.ask(Job::Write, work).await
    }

    async fn ask<T, W>(
        &self,
        kind: impl FnOnce(Box<dyn Task>) -> Job,
        work: W,
    ) -> Result<T, StoreFault>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            work: Some(work),
            outcome: None,
            reply,
        };
        if let Some(jobs) = &self.jobs {
            // A failed send drops the call, and that ends the wait below.
            let _ = jobs.send(kind(Box::new(call)));
        }
        answer.await.unwrap_or_else(|_| Err(interrupted()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It catches panics itself; there is nothing to say about how it ended.
            let _ = thread.join();
        }
    }
}

enum Job {
    Read(Box<dyn Task>),
    Write(Box<dyn Task>),
}

/// A call of any type of answer.
trait Task: Send {
    /// Does the work and keeps the outcome.
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), StoreFault>;

    /// Tells the caller: its own fault if it has one, else whether what was written is durable.
    fn answer(self: Box<Self>, durable: Result<(), StoreFault>);
}

struct Call<T, W> {
    work: Option<W>,
    outcome: Option<Result<T, StoreFault>>,
    reply: oneshot::Sender<Result<T, StoreFault>>,
}

impl<T, W> Task for Call<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, Trouble> + Send,
{
    fn run(&mut self, connection: &Connection, path: &Path) -> Result<(), StoreFault> {
        let work = self.work.take().ok_or_else(interrupted)?;
        let outcome = work(connection).map_err(|trouble| trouble.at(path));
        let done = outcome.as_ref().map(drop).map_err(Clone::clone);
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, durable: Result<(), StoreFault>) {
        let answer = match (self.outcome, durable) {
            (Some(Err(fault)), _) | (_, Err(fault)) => Err(fault),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(interrupted()),
        };
        // The caller may have stopped waiting; what is written stays written.
        let _ = self.reply.send(answer);
    }
}

/// The connection, and the way to a new one after an error that makes it doubtful.
struct Link {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Link {
    fn serve(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let group = std::iter::once(first).chain(queue.try_iter()).take(GROUP);
            // A panic in the work of one caller must not end the store for all of them. Those of
            // its group are told that they were interrupted.
            if catch_unwind(AssertUnwindSafe(|| self.answer(group))).is_err() {
                tracing::error!("a call to the store panicked; the store is reopened");
                self.connection = None;
            }
        }
    }

    /// A read that was asked for after a write sees it, whether anybody waited for it or not; so
    /// only those that came before the first write go before the commit.
    fn answer(&mut self, group: impl Iterator<Item = Job>) {
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for job in group {
            match job {
                Job::Read(task) if writes.is_empty() => self.read(task),
                Job::Read(task) => reads.push(task),
                Job::Write(task) => writes.push(task),
            }
        }
        if !writes.is_empty() {
            self.write(writes);
        }
        for task in reads {
            self.read(task);
        }
    }

    fn read(&mut self, mut task: Box<dyn Task>) {
        let path = self.path.clone();
        let done = self
            .connection()
            .and_then(|connection| task.run(connection, &path));
        self.distrust_after(&done);
        task.answer(done);
    }

    fn write(&mut self, mut tasks: Vec<Box<dyn Task>>) {
        let path = self.path.clone();
        let durable = self
            .connection()
            .and_then(|connection| in_one_transaction(connection, &path, &mut tasks));
        self.distrust_after(&durable);
        for task in tasks {
            task.answer(durable.clone());
        }
    }

    fn connection(&mut self) -> Result<&Connection, StoreFault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => database::open(&self.path)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// After an error of the disk nothing that the connection remembers is believed.
    fn distrust_after(&mut self, done: &Result<(), StoreFault>) {
        if done.as_ref().is_err_and(is_doubtful) {
            self.connection = None;
        }
    }
}

/// Commits what `tasks` do. Each has a savepoint of its own, so that one that fails takes nothing
/// with it.
fn in_one_transaction(
    connection: &Connection,
    path: &Path,
    tasks: &mut [Box<dyn Task>],
) -> Result<(), StoreFault> {
    let execute = |sql: &str| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(|error| Trouble::from(error).at(path))
    };
    let run = |task: &mut Box<dyn Task>| {
        execute("SAVEPOINT task")?;
        match task.run(connection, path) {
            Err(fault @ StoreFault::Io { .. }) => return Err(fault),
            Err(_) => execute("ROLLBACK TO task")?,
            Ok(()) => {}
        }
        execute("RELEASE task")
    };
    execute("BEGIN IMMEDIATE")?;
    let done = tasks.iter_mut().try_for_each(run).and_then(|()| {
        crash::point("before a commit");
        execute("COMMIT")?;
        crash::point("after a commit");
        Ok(())
    });
    // A full disk makes SQLite itself roll back.
    if done.is_err() && !connection.is_autocommit() {
        execute("ROLLBACK")?;
    }
    done
}

/// Whether the connection may have lost touch with what is on the disk.
fn is_doubtful(fault: &StoreFault) -> bool {
    matches!(fault, StoreFault::Io { .. } | StoreFault::Damaged { .. })
}

fn interrupted() -> StoreFault {
    StoreFault::Io {
        detail: "the call was interrupted".into(),
    }
}
