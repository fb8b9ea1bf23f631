//! One rule as XML: its conditions, and what it does.

use super::Document;
use std::io;

/// A word of a rule.
pub(super) struct Word {
    pub(super) text: Vec<u8>,
    /// It ended with quotes: it is no option, whatever it looks like.
    pub(super) quoted: bool,
}

pub(super) fn is_target(word: &Word) -> bool {
    matches!(&*word.text, b"-j" | b"--jump" | b"-g" | b"--goto")
}

fn is_goto(word: &Word) -> bool {
    matches!(&*word.text, b"-g" | b"--goto")
}

fn is_module(word: &Word) -> bool {
    matches!(&*word.text, b"-m" | b"--module")
}

fn is_option(word: &Word) -> bool {
    word.text.starts_with(b"-")
}

/// Whether two rules are the same up to their targets, and the first one goes on after its own.
pub(super) fn same_conditions(new: &[Word], old: &[Word]) -> bool {
    for (at, (new, first)) in new.iter().zip(old).enumerate() {
        if is_target(first) && is_target(new) {
            let ends = |word: &Word| matches!(&*word.text, b"ACCEPT" | b"DROP" | b"QUEUE" | b"RETURN");
            return !is_goto(first) && !old.get(at + 1).is_some_and(ends);
        }
        if first.text != new.text {
            return false;
        }
    }
    false
}

const OUTER: &str = "        ";
const INNER: &str = "          ";

/// The elements that are open.
#[derive(Default)]
struct Open<'w> {
    /// A match or target.
    outer: Option<&'w [u8]>,
    /// One of its options.
    inner: Option<&'w [u8]>,
}

impl Document<'_> {
    /// The conditions of a rule, or what it does. The words that stand before are the command and its chain.
    pub(super) fn part(&mut self, rule: &[Word], actions: bool) -> io::Result<()> {
        let mut at = 2;
        if actions {
            while rule.get(at).is_some_and(|word| word.quoted || !is_target(word)) {
                at += 1;
            }
        }
        let mut open = Open::default();
        // Options of the rule itself, before those of any match.
        let negated = rule.get(at).is_some_and(|word| word.text == b"!");
        let first = rule.get(at + usize::from(negated));
        if first.is_some_and(|word| is_option(word) && !is_target(word) && word.text != b"-m") {
            self.begin(OUTER, b"match")?;
            open.outer = Some(b"match");
            self.out.write_all(b">\n")?;
        }
        let (mut invert, mut spacer) = (false, "");
        while let Some(word) = rule.get(at) {
            let next = rule.get(at + 1);
            at += 1;
            if word.quoted {
                self.value(word, spacer)?;
                spacer = " ";
            } else if is_target(word) && !actions {
                break;
            } else if word.text == b"!" {
                if next.is_some_and(is_option) {
                    invert = true;
                } else {
                    write!(self.out, "{spacer}!")?;
                }
                spacer = " ";
            } else if is_target(word) || is_module(word) {
                let Some(name) = next else { break };
                at += 1;
                self.close(&mut open)?;
                (invert, spacer) = (false, "");
                if is_target(word) && self.is_chain(&name.text) {
                    let tag: &[u8] = if is_goto(word) { b"goto" } else { b"call" };
                    self.begin(OUTER, tag)?;
                    self.out.write_all(b">\n")?;
                    self.begin(INNER, &name.text)?;
                    self.out.write_all(b"/>\n")?;
                    open.outer = Some(tag);
                    continue;
                }
                self.begin(OUTER, &name.text)?;
                let after = rule.get(at);
                if after.is_none_or(|word| !word.quoted && (is_target(word) || is_module(word))) {
                    self.out.write_all(b" />\n")?;
                } else {
                    self.out.write_all(b">\n")?;
                    open.outer = Some(&name.text);
                }
            } else if is_option(word) {
                self.close_inner(&mut open)?;
                let hyphens = word.text.iter().take_while(|byte| **byte == b'-').count();
                let tag = &word.text[hyphens..];
                self.begin(INNER, tag)?;
                if std::mem::take(&mut invert) {
                    self.out.write_all(b" invert=\"1\"")?;
                }
                spacer = "";
                if next.is_none_or(is_option) {
                    self.out.write_all(b" />\n")?;
                } else {
                    self.out.write_all(b">")?;
                    open.inner = Some(tag);
                }
            } else {
                self.value(word, spacer)?;
                spacer = " ";
            }
        }
        self.close(&mut open)
    }

    fn begin(&mut self, indent: &str, tag: &[u8]) -> io::Result<()> {
        write!(self.out, "{indent}<")?;
        self.out.write_all(tag)?;
        self.out.write_all(b" ")
    }

    fn end(&mut self, tag: &[u8]) -> io::Result<()> {
        self.out.write_all(b"</")?;
        self.out.write_all(tag)?;
        self.out.write_all(b">\n")
    }

    fn close_inner(&mut self, open: &mut Open<'_>) -> io::Result<()> {
        open.inner.take().map_or(Ok(()), |tag| self.end(tag))
    }

    fn close(&mut self, open: &mut Open<'_>) -> io::Result<()> {
        self.close_inner(open)?;
        let Some(tag) = open.outer.take() else { return Ok(()) };
        self.out.write_all(OUTER.as_bytes())?;
        self.end(tag)
    }

    fn value(&mut self, word: &Word, spacer: &str) -> io::Result<()> {
        let quotes = if word.quoted || word.text.contains(&b' ') { "&quot;" } else { "" };
        write!(self.out, "{spacer}{quotes}")?;
        self.text(&word.text)?;
        write!(self.out, "{quotes}")
    }
}
