//! `iptables-restore`: tables from a file, each committed as a whole at its `COMMIT`.

use crate::backend::{BackendError, Part, Snapshot};
use crate::context::Context;
use crate::execute::{Voice, execute, is_of_one_chain, set_policy};
use crate::failure::{Failure, Located, PROGRAM_VERSION};
use crate::getopt::{Arg, Getopt, Spec};
use crate::iptables::{answered, unsound};
use crate::lines::Input;
use crate::lock::{Wait, XtablesLock, strerror};
use crate::multicall::Program;
use bpftables_parser::restore::{self, Kind, Lines, Reader};
use bpftables_parser::{Command, ExtensionKind, extensions};
use bpftables_ruleset::edit::{Edited, merge, zero_rules};
use bpftables_ruleset::{CheckError, CounterView, Counters, EditError, Editor, Family, Table, TableKind, check};
use std::fs::File;
use std::io::Read;

const SPEC: Spec = Spec {
    short: &[
        ('b', Arg::None),
        ('c', Arg::None),
        ('v', Arg::None),
        ('V', Arg::None),
        ('t', Arg::None),
        ('h', Arg::None),
        ('n', Arg::None),
        ('w', Arg::None),
        ('W', Arg::None),
        ('M', Arg::Required),
        ('T', Arg::Required),
    ],
    long: &[
        ("counters", Arg::None, 'c'),
        ("verbose", Arg::None, 'v'),
        ("version", Arg::None, 'V'),
        ("test", Arg::None, 't'),
        ("help", Arg::None, 'h'),
        ("noflush", Arg::None, 'n'),
        ("modprobe", Arg::Required, 'M'),
        ("table", Arg::Required, 'T'),
        ("wait", Arg::Optional, 'w'),
        ("wait-interval", Arg::Optional, 'W'),
    ],
};

const USAGE: &str = " [-c] [-v] [-V] [-t] [-h] [-n] [-w secs] [-W usecs] [-T table] [-M command] [file]\n\
                     \t   [ --counters ]\n\
                     \t   [ --verbose ]\n\
                     \t   [ --version]\n\
                     \t   [ --test ]\n\
                     \t   [ --help ]\n\
                     \t   [ --noflush ]\n\
                     \t   [ --wait=<seconds>\n\
                     \t   [ --table=<TABLE> ]\n\
                     \t   [ --modprobe=<command> ]";

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
struct Options {
    counters: bool,
    verbose: u32,
    test: bool,
    noflush: bool,
    wait: i32,
    table: Option<String>,
    file: Option<String>,
}

/// What is left to do after the command line was read.
enum Call {
    Restore(Options),
    Done,
}

/// Runs one command line.
pub fn run(family: Family, arguments: &[String], context: &mut Context<'_>) -> Result<(), Located> {
    let options = match options(family, arguments, context).map_err(|failure| failure.at(0))? {
        Call::Restore(options) => options,
        Call::Done => return Ok(()),
    };
    let mut file = match &options.file {
        Some(path) => {
            let cannot = |error| Failure::plain(1, format!("Can't open {path}: {}", strerror(&error)));
            Some(File::open(path).map_err(cannot)?)
        }
        None => None,
    };
    // Legacy deals with each line as it comes, and others wait for its answer before they write the next.
    let stdin = std::mem::replace(&mut context.stdin, Box::leak(Box::new(std::io::empty())));
    let input: &mut dyn Read = match &mut file {
        Some(file) => file,
        None => stdin,
    };
    let program = Program::Restore(family).name();
    Restore { program, family, options: &options, context, loaded: None }.run(Input::new(input))
}

fn options(family: Family, arguments: &[String], context: &mut Context<'_>) -> Result<Call, Failure> {
    let program = Program::Restore(family).name();
    let mut options = Options::default();
    let mut wait_interval = false;
    let mut getopt = Getopt::new(SPEC, arguments);
    loop {
        let option = getopt.option().map_err(|error| {
            let argv0 = &context.argv0;
            Failure::plain(1, format!("{argv0}: {error}\nTry `{program} -h' for more information."))
        })?;
        let Some((letter, value)) = option else { break };
        match letter {
            'b' => context.notice("-b/--binary option is not implemented"),
            'c' => options.counters = true,
            'v' => options.verbose += 1,
            'V' => {
                writeln!(context.stdout, "{program} v{PROGRAM_VERSION}")?;
                return Ok(Call::Done);
            }
            't' => options.test = true,
            'h' => {
                context.notice(&format!("Usage: {program}{USAGE}"));
                return Ok(Call::Done);
            }
            'n' => options.noflush = true,
            'w' => {
                options.wait = match value.or_else(|| getopt.loose_argument()) {
                    Some(text) => scan_integer(text).ok_or_else(|| Failure::parameter("wait seconds not numeric"))?,
                    None => -1,
                }
            }
            'W' => {
                let text = value.or_else(|| getopt.loose_argument());
                wait_interval_notice(text, context)?;
                wait_interval = true;
            }
            'T' => options.table = value.map(str::to_owned),
            // -M: there are no modules to load.
            _ => {}
        }
    }
    match getopt.operands() {
        [] => {}
        [file] => options.file = Some((*file).to_owned()),
        _ => return Err(Failure::plain(1, "Unknown arguments found on commandline")),
    }
    if wait_interval && options.wait == 0 {
        return Err(Failure::plain(1, "Option --wait-interval requires option --wait"));
    }
    Ok(Call::Restore(options))
}

fn wait_interval_notice(text: Option<&str>, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = text.ok_or_else(|| Failure::parameter("wait interval value required"))?;
    let digits: &str = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match digits[..end].parse::<u32>() {
        Ok(usec) if usec > 999_999 => Err(Failure::parameter(format!("too long usec wait {usec} > 999999 usec"))),
        Ok(_) => {
            context.notice("Ignoring deprecated --wait-interval option.");
            Ok(())
        }
        Err(_) => Err(Failure::parameter("wait interval not numeric")),
    }
}

/// `sscanf("%i")`: an integer at the start, in C's notations.
fn scan_integer(text: &str) -> Option<i32> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let value = i32::from_str_radix(&digits[..end], radix).ok()?;
    Some(if negative { -value } else { value })
}

/// A restore under way.
struct Restore<'c, 'w> {
    program: &'static str,
    family: Family,
    options: &'c Options,
    context: &'c mut Context<'w>,
    /// What is in force, kept from one table of the input to the next.
    loaded: Option<Snapshot>,
}

/// A table under way: what is to be committed, and the lock that is held for it.
struct OpenTable<'r> {
    editor: Editor<'r>,
    view: &'r dyn CounterView,
}

impl Restore<'_, '_> {
    fn run(mut self, input: Input<'_>) -> Result<(), Located> {
        let names = self.context.names;
        let options = restore::Options {
            family: self.family,
            program: self.program,
            counters: self.options.counters,
            noflush: self.options.noflush,
            verbose: self.options.verbose,
            table: self.options.table.as_deref(),
        };
        let mut reader = Reader::new(input, options, names);
        while let Some(item) = reader.next() {
            let item = item.map_err(|error| self.refused(error))?;
            match item.kind {
                Kind::Comment(text) => self.comment(&text)?,
                Kind::Table(name) => self.table(&name, item.line, &mut reader)?,
                // Legacy has the lock before it sees whose table it is.
                Kind::OtherTable => drop(self.lock()?),
                // The reader gives these within a table only.
                Kind::Chain { .. } | Kind::Command(_) | Kind::Commit => {
                    return Err(Failure::Line { line: item.line, reason: None }.into());
                }
            }
        }
        if let Some(snapshot) = self.loaded {
            self.context.backend.settle(self.family);
            self.context.backend.keep(snapshot.ruleset);
        }
        Ok(())
    }

    /// From `*NAME` to `COMMIT`, under the lock.
    fn table(&mut self, name: &str, line: u32, reader: &mut Reader<'_, impl Lines>) -> Result<(), Located> {
        let _lock = self.lock()?;
        let kind = TableKind::from_name(name).ok_or_else(|| self.no_table(name, "").at(line))?;
        if let Some(part) = self.part(name, kind, line)? {
            return self.some_chains(kind, &part, line, reader);
        }
        let Snapshot { mut ruleset, counters } = self.load(name, line)?;
        let first_time = ruleset.table(kind).is_none();
        let mut table = OpenTable { editor: Editor::new(ruleset.table_mut(kind)), view: &*counters };
        self.begin(&mut table)?;
        let result = self.lines(&mut table, line, reader);
        drop(table);
        let result = match result {
            Ok(line) => self.commit(Snapshot { ruleset, counters }, kind, first_time, line),
            Err(failure) => Err(failure),
        };
        if result.is_err() {
            self.touch(kind, first_time);
        }
        result
    }

    /// A table that is only changed here and there is read chain by chain, unless all was read already.
    fn part(&mut self, table: &str, kind: TableKind, line: u32) -> Result<Option<Part>, Located> {
        if !self.options.noflush || self.loaded.is_some() {
            return Ok(None);
        }
        let part = self.context.backend.part(self.family, kind);
        part.map_err(|error| self.cannot_load(table, line, error))
    }

    /// As [`Self::table`], for a table that is read chain by chain.
    fn some_chains(
        &mut self,
        kind: TableKind,
        part: &Part,
        line: u32,
        reader: &mut Reader<'_, impl Lines>,
    ) -> Result<(), Located> {
        let mut edited = Table::new(self.family, kind);
        let (result, whole, Edited { taken, refilled }) = {
            let mut editor = Editor::of_parts(&mut edited, &*part.source);
            let targets = extensions(self.family).filter(|(kind, _)| *kind == ExtensionKind::Target);
            editor.expect_lines(targets.map(|(_, name)| name));
            let mut table = OpenTable { editor, view: &*part.counters };
            let result = self.lines(&mut table, line, reader);
            (result, table.editor.is_whole(), table.editor.finish())
        };
        if !whole && !part.source.is_sound() {
            return Err(unsound(self.family, kind, self.context).at(line));
        }
        let line = result?;
        if self.options.test {
            return Ok(());
        }
        let failed = |reason| Located::from(Failure::Line { line, reason });
        if !whole {
            let done = self.context.backend.commit_part(&mut edited, &refilled);
            if done.map_err(|error| failed(Some(error.to_string())))? {
                return Ok(());
            }
        }
        // Whether it can be done, and what is to be said if not, only the whole tells.
        let mut snapshot = self.load(kind.name(), line)?;
        let table = snapshot.ruleset.table_mut(kind);
        if whole {
            *table = edited;
        } else {
            merge(table, edited, &taken);
            zero_rules(table, &refilled, &*snapshot.counters);
        }
        self.commit(snapshot, kind, false, line)
    }

    /// What stands between `*NAME` and `COMMIT`; the line of that.
    fn lines(
        &mut self,
        table: &mut OpenTable<'_>,
        line: u32,
        reader: &mut Reader<'_, impl Lines>,
    ) -> Result<u32, Located> {
        loop {
            let item = match reader.next_unknown(&mut |chain, line| table.editor.again(chain, line)) {
                Some(Ok(item)) => item,
                Some(Err(error)) => return Err(self.refused(error)),
                // The reader reports a missing COMMIT itself.
                None => return Ok(line),
            };
            match item.kind {
                Kind::Comment(text) => self.comment(&text)?,
                Kind::Chain { name, policy, counters, problem } => {
                    let chain = ChainLine { name: &name, policy: policy.as_deref(), counters };
                    let made = self.chain(table, &chain, item.line);
                    let done = made.and_then(|()| problem.map_or(Ok(()), |problem| Err(problem.into())));
                    done.map_err(|failure: Failure| failure.at(item.line))?;
                }
                Kind::Command(command) => self.command(table, *command, item.line)?,
                Kind::Commit => return Ok(item.line),
                Kind::Table(_) | Kind::OtherTable => {
                    return Err(Failure::Line { line: item.line, reason: None }.into());
                }
            }
        }
    }

    fn lock(&self) -> Result<Option<XtablesLock>, Failure> {
        self.context.lock(Wait::from_seconds(self.options.wait))
    }

    /// Legacy's kernel has a table from when it was first named, whatever became of its lines.
    fn touch(&mut self, kind: TableKind, first_time: bool) {
        if !first_time {
            return;
        }
        let touched = self.context.backend.touch(self.family, kind);
        if let Err(error) = touched {
            tracing::warn!(%error, "the table could not be recorded as initialised");
        }
    }

    fn comment(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.options.verbose > 0 {
            self.context.stdout.write_all(text)?;
            self.context.stdout.flush()?;
        }
        Ok(())
    }

    /// What the reader refuses.
    fn refused(&mut self, error: restore::Error) -> Located {
        match error {
            restore::Error::Parse { line, error, notices } => {
                for notice in &notices {
                    self.context.notice(notice);
                }
                Failure::from(error).at(line)
            }
            restore::Error::Failed { line } => Failure::Line { line, reason: None }.into(),
            restore::Error::CommitExpected { line } => {
                Failure::plain(1, format!("{}: COMMIT expected at line {line}", self.program)).into()
            }
        }
    }

    /// What is in force, read again unless it is known that nobody else changed it since the last table.
    fn load(&mut self, table: &str, line: u32) -> Result<Snapshot, Located> {
        if let Some(mut snapshot) = self.loaded.take()
            && self.context.backend.refresh(self.family, &mut snapshot)
        {
            return Ok(snapshot);
        }
        self.context.backend.read(self.family).map_err(|error| self.cannot_load(table, line, error))
    }

    fn cannot_load(&self, table: &str, line: u32, error: BackendError) -> Located {
        match error {
            // Legacy has no words for the reason.
            BackendError::NotPermitted => self.no_table(table, "").at(line),
            error => self.no_table(table, &format!(": {error}")).at(line),
        }
    }

    fn no_table(&self, table: &str, reason: &str) -> Failure {
        Failure::parameter(format!("{}: unable to initialize table '{table}'{reason}", self.program))
    }

    /// `*NAME`: without --noflush nothing stays but policies.
    fn begin(&mut self, table: &mut OpenTable<'_>) -> Result<(), Failure> {
        if self.options.noflush {
            return Ok(());
        }
        if self.options.verbose > 0 {
            for chain in table.editor.table().chains() {
                writeln!(self.context.stdout, "Flushing chain `{}'", chain.name)?;
            }
            for name in table.editor.table().user.keys() {
                writeln!(self.context.stdout, "Deleting chain `{name}'")?;
            }
        }
        table.editor.reset();
        Ok(())
    }

    /// `:CHAIN POLICY [p:b]`.
    fn chain(&self, table: &mut OpenTable<'_>, line: &ChainLine<'_>, number: u32) -> Result<(), Failure> {
        let name = line.name;
        if !table.editor.is_builtin(name) {
            if self.options.noflush && table.editor.is_chain(name) {
                table.editor.refill(name)?;
            } else {
                table.editor.new_chain(name).map_err(|error| {
                    let why = match error {
                        EditError::ChainExists => "File exists".to_owned(),
                        error => error.to_string(),
                    };
                    Failure::parameter(format!("error creating chain '{name}':{why}"))
                })?;
            }
        }
        let Some(policy) = line.policy else { return Ok(()) };
        set_policy(&mut table.editor, name, policy, line.counters, table.view).map_err(|error| {
            Failure::other(format!("Can't set policy `{policy}' on `{name}' line {number}: {error}"))
        })?;
        Ok(())
    }

    /// A line with a command.
    fn command(&mut self, table: &mut OpenTable<'_>, command: Command, number: u32) -> Result<(), Located> {
        for notice in &command.notices {
            self.context.notice(notice);
        }
        if !table.editor.is_whole() && !is_of_one_chain(&command) {
            let kind = table.editor.kind();
            let mut whole = self.load(kind.name(), number)?;
            table.editor.widen(whole.ruleset.table_mut(kind).clone());
        }
        let context = &mut *self.context;
        if answered(self.program, &command.verb, context.stdout)? {
            return Err(Failure::Said(0).into());
        }
        let dumps = command.verbose > 1;
        let mut voice = Voice { stdout: context.stdout, stderr: context.stderr, names: context.names };
        let done = execute(&mut table.editor, command, table.view, &mut voice);
        if dumps && matches!(done, Ok(_) | Err(Failure::Refused(_))) {
            // Of the table that is in force.
            let kind = table.editor.kind();
            let mut snapshot = self.load(kind.name(), number)?;
            crate::text::dump(self.context.stdout, snapshot.ruleset.table_mut(kind), self.family, &*snapshot.counters)?;
        }
        match done {
            Ok(_) => Ok(()),
            Err(Failure::Refused(_)) => Err(Failure::Line { line: number, reason: None }.into()),
            Err(failure) => Err(failure.at(number)),
        }
    }

    /// `COMMIT`.
    fn commit(
        &mut self,
        mut snapshot: Snapshot,
        kind: TableKind,
        first_time: bool,
        number: u32,
    ) -> Result<(), Located> {
        if self.options.test {
            self.touch(kind, first_time);
            // The process ends soon: to take a large ruleset apart is time for nothing.
            std::mem::forget(snapshot);
            return Ok(());
        }
        let failed = |reason| Located::from(Failure::Line { line: number, reason });
        let refused = |error: CheckError| {
            tracing::info!(reason = error.detail(), "the table is refused");
            failed(matches!(error, CheckError::TooDeep { .. }).then(|| error.to_string()))
        };
        if let Some(table) = snapshot.ruleset.table(kind) {
            check(table).map_err(refused)?;
        }
        self.context.backend.commit(&mut snapshot.ruleset, kind).map_err(|error| match error {
            BackendError::Refused(error) => refused(error),
            error => failed(Some(error.to_string())),
        })?;
        self.loaded = Some(snapshot);
        Ok(())
    }
}

/// A chain line, its words told apart.
struct ChainLine<'a> {
    name: &'a str,
    /// `None` for `-`.
    policy: Option<&'a str>,
    counters: Option<Counters>,
}
