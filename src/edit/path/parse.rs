//! The grammar of paths.

use serde_json::Value;

use super::{Filter, Glob, HIGHEST_INDEX, LONGEST, MOST_STEPS, ParsePathError, Path, Step};

/// How deep parentheses may be nested.
const DEEPEST: usize = 16;

/// Reads a whole path.
pub(super) fn path(text: &str) -> Result<Path, ParsePathError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        document: None,
        steps: Vec::new(),
    };
    if text.len() > LONGEST {
        return Err(parser.error(&format!("the path is longer than {LONGEST} bytes")));
    }
    parser.pipeline()?;
    if parser.at < text.len() {
        return Err(parser.error("a \")\" that closes nothing"));
    }
    if !parser
        .steps
        .iter()
        .any(|step| !matches!(step, Step::Select(_)))
    {
        return Err(parser.error("a key or an index is missing"));
    }
    Ok(Path {
        document: parser.document,
        steps: parser.steps,
    })
}

/// Whether `key` can stand in a path without quotes and means itself there.
pub(super) fn is_bare_key(key: &str) -> bool {
    !key.is_empty()
        && key != "select"
        && key
            .chars()
            .all(|character| is_key_character(character) && !matches!(character, '*' | '?'))
}

fn is_key_character(character: char) -> bool {
    !character.is_whitespace()
        && !character.is_control()
        && !"\"'`\\.[](){}|:;,=!".contains(character)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    document: Option<usize>,
    steps: Vec<Step>,
}

type Parsed<T = ()> = Result<T, ParsePathError>;

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, problem: &str) -> ParsePathError {
        let mut path: String = self.text.chars().take(200).collect();
        if path.len() < self.text.len() {
            path.push('…');
        }
        ParsePathError {
            path,
            position: self.text[..self.at].chars().count() + 1,
            problem: problem.to_owned(),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parsed {
        self.skip_blanks();
        if self.take(token) {
            return Ok(());
        }
        Err(self.error(&format!("expected {token:?}")))
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn push(&mut self, step: Step) -> Parsed {
        if self.steps.len() == MOST_STEPS {
            return Err(self.error(&format!("more than {MOST_STEPS} steps")));
        }
        self.steps.push(step);
        Ok(())
    }

    /// `part | part | part`, up to the end or a closing parenthesis.
    fn pipeline(&mut self) -> Parsed {
        loop {
            self.skip_blanks();
            self.part()?;
            self.skip_blanks();
            if self.rest().is_empty() || self.rest().starts_with(')') {
                return Ok(());
            }
            if !self.take("|") {
                return Err(self.error("expected \".\", \"[\", \"|\" or the end"));
            }
        }
    }

    /// `select(..)`, `( pipeline ) steps` or `steps`.
    fn part(&mut self) -> Parsed {
        if self.rest().starts_with("select") {
            let argument = self.rest()["select".len()..].trim_start_matches([' ', '\t']);
            if argument.starts_with('(') {
                self.at = self.text.len() - argument.len() + 1;
                return self.select();
            }
        }
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(self.error(&format!("more than {DEEPEST} nested parentheses")));
            }
            self.pipeline()?;
            self.expect(")")?;
            self.depth -= 1;
            return self.steps(Start::Behind);
        }
        self.steps(Start::Fresh)
    }

    /// Keys and brackets, as many as there are.
    fn steps(&mut self, start: Start) -> Parsed {
        let mut fresh = start == Start::Fresh;
        loop {
            let dot = self.take(".");
            let bracket = self.rest().starts_with('[');
            if bracket {
                self.bracket()?;
            } else if dot || fresh {
                self.key(fresh)?;
            } else {
                return Ok(());
            }
            fresh = false;
        }
    }

    fn key(&mut self, first: bool) -> Parsed {
        if self.rest().starts_with('"') {
            let key = self.quoted()?;
            return self.push(Step::Key(key));
        }
        let rest = self.rest();
        let end = rest
            .find(|character| !is_key_character(character))
            .unwrap_or(rest.len());
        if end == 0 {
            let problem = match rest.chars().next() {
                None if first => "a key or an index is missing",
                None => "a key is missing at the end",
                Some('.') => "\"..\" is not supported, a key is missing",
                Some(_) => "this character cannot start a key; quote the key",
            };
            return Err(self.error(problem));
        }
        let key = rest[..end].to_owned();
        self.at += end;
        if key.contains(['*', '?']) {
            return self.push(Step::Glob(Glob(key)));
        }
        self.push(Step::Key(key))
    }

    /// `[]`, `[*]`, `[2]`, `[-1]`, `["key"]`.
    fn bracket(&mut self) -> Parsed {
        self.expect("[")?;
        self.skip_blanks();
        let step = if self.take("]") {
            return self.push(Step::All);
        } else if self.take("*") {
            Step::All
        } else if self.rest().starts_with('"') {
            Step::Key(self.quoted()?)
        } else {
            Step::Index(self.index()?)
        };
        self.expect("]")?;
        self.push(step)
    }

    fn index(&mut self) -> Parsed<i64> {
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.error("expected an index, \"*\" or a key in double quotes"));
        }
        let end = rest.len() - digits.len() + count;
        match rest[..end].parse::<i64>() {
            Ok(index) if index.abs() <= HIGHEST_INDEX => {
                self.at += end;
                Ok(index)
            }
            _ => Err(self.error(&format!("the index is beyond {HIGHEST_INDEX}"))),
        }
    }

    /// A text in double quotes, with JSON's escapes.
    fn quoted(&mut self) -> Parsed<String> {
        let rest = self.rest();
        let mut escaped = false;
        let closing = rest.char_indices().skip(1).find(|(_, character)| {
            let closes = *character == '"' && !escaped;
            escaped = *character == '\\' && !escaped;
            closes
        });
        let Some((closing, _)) = closing else {
            return Err(self.error("the quotes are not closed"));
        };
        let Ok(text) = serde_json::from_str(&rest[..=closing]) else {
            return Err(self.error("not a text in JSON's notation"));
        };
        self.at += closing + 1;
        Ok(text)
    }

    /// What stands in `select( .. )`, behind the opening parenthesis.
    fn select(&mut self) -> Parsed {
        self.skip_blanks();
        for name in ["document_index", "documentIndex", "di"] {
            if self.take(name) {
                return self.select_document();
            }
        }
        if !self.rest().starts_with('.') {
            return Err(self.error("expected \".\" and what to compare"));
        }
        let outer = std::mem::take(&mut self.steps);
        let alone = self.rest()[1..].starts_with([' ', '\t', '=', '!']);
        if alone {
            self.at += 1;
        } else {
            self.steps(Start::Fresh)?;
        }
        let steps = std::mem::replace(&mut self.steps, outer);
        if !steps
            .iter()
            .all(|step| matches!(step, Step::Key(_) | Step::Index(_)))
        {
            return Err(self.error("a comparison takes keys and indexes only"));
        }
        self.skip_blanks();
        let equal = self.take("==");
        if !equal && !self.take("!=") {
            return Err(self.error("expected \"==\" or \"!=\""));
        }
        let literal = self.literal()?;
        self.expect(")")?;
        self.push(Step::Select(Filter {
            steps,
            equal,
            literal,
        }))
    }

    fn select_document(&mut self) -> Parsed {
        if self.document.is_some() || !self.steps.is_empty() {
            return Err(self.error("the document is chosen once, at the start of the path"));
        }
        self.expect("==")?;
        self.skip_blanks();
        let index = self.index()?;
        let Ok(index) = usize::try_from(index) else {
            return Err(self.error("documents are counted from 0"));
        };
        self.document = Some(index);
        self.expect(")")
    }

    fn literal(&mut self) -> Parsed<Value> {
        self.skip_blanks();
        if self.rest().starts_with('"') {
            return self.quoted().map(Value::from);
        }
        let rest = self.rest();
        let end = rest.find([')', ' ', '\t', '|']).unwrap_or(rest.len());
        match serde_json::from_str(&rest[..end]) {
            Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => {
                self.at += end;
                Ok(value)
            }
            _ => Err(self.error("expected a text in double quotes, a number, true, false or null")),
        }
    }
}

/// Whether steps begin a part of the pipeline or go on behind a closing parenthesis.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fresh,
    Behind,
}
