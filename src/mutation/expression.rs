//! The expressions of configuration values: a closed subset of spiff's.
//!
//! ```text
//! text       = { plain text | "((" expression "))" | "((!" anything "))" }
//! expression = joined { "||" joined }            the first that can be resolved
//! joined     = single { single }                 texts, numbers, booleans, or lists, side by side
//! single     = "text" | number | true | false | nil | ~ | reference | "(" expression ")"
//! reference  = [ "." ] name { "." name | "." "[" index "]" | "[" index "]" | "[" "name" "]" }
//! ```
//!
//! There are no functions, so nothing can be read and nothing can run on.

use serde_json::{Number, Value};

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 32;

/// One step of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// An entry of a map.
    Key(String),
    /// An item of a list; negative ones count from its end.
    Index(i64),
}

/// A reference to another place of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Begins at the root, whatever stands nearer.
    pub(super) absolute: bool,
    pub(super) segments: Vec<Segment>,
    /// As it was written.
    pub(super) text: String,
}

/// What stands between `((` and `))`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    Reference(Reference),
    /// At least two.
    Joined(Vec<Expression>),
    /// At least two, in order of preference.
    Either(Vec<Expression>),
}

/// A scalar text, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    /// Nothing to evaluate: the text as it is to be written.
    Plain(String),
    /// One expression and nothing else: the result keeps its type.
    Whole(Expression),
    /// Expressions inside a text: the result is a text.
    Mixed(Vec<Part>),
}

/// A piece of [`Text::Mixed`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Plain(String),
    Expression(Expression),
}

/// Takes a scalar text apart; the error says what is wrong, and with which expression.
pub(super) fn parse_text(text: &str) -> Result<Text, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("((") {
        let Some(end) = closing(&rest[start..]) else {
            // An opening without an end is ordinary text, as in spiff.
            break;
        };
        let inner = &rest[start + 2..start + end];
        plain.push_str(&rest[..start]);
        if let Some(escaped) = inner.strip_prefix('!') {
            plain.push_str("((");
            plain.push_str(escaped);
            plain.push_str("))");
        } else {
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            let expression = parse(inner).map_err(|problem| {
                format!(
                    "(({inner})): {problem}; write ((!{inner})) if the text is meant as it stands"
                )
            })?;
            parts.push(Part::Expression(expression));
        }
        rest = &rest[start + end + 2..];
    }
    plain.push_str(rest);
    if parts.is_empty() {
        return Ok(Text::Plain(plain));
    }
    if !plain.is_empty() {
        parts.push(Part::Plain(plain));
    }
    if let [Part::Expression(whole)] = parts.as_slice() {
        return Ok(Text::Whole(whole.clone()));
    }
    Ok(Text::Mixed(parts))
}

/// Where the `))` is that ends the `((` at the start of `text`: not inside quotes or parentheses.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut quoted, mut at) = (0_usize, false, 2);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted && depth > 0 => depth -= 1,
            b')' if !quoted && bytes.get(at + 1) == Some(&b')') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let expression = parser.either()?;
    match parser.peek() {
        None => Ok(expression),
        Some(other) => Err(format!("{other:?} is not supported here")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn next_char(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek(&mut self) -> Option<char> {
        let skipped = self.rest().len() - self.rest().trim_start().len();
        self.at += skipped;
        self.next_char()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn either(&mut self) -> Result<Expression, String> {
        let mut choices = vec![self.joined()?];
        while self.peek().is_some() && self.take("||") {
            choices.push(self.joined()?);
        }
        Ok(single_or(choices, Expression::Either))
    }

    fn joined(&mut self) -> Result<Expression, String> {
        let mut pieces = vec![self.single()?];
        while self.peek().is_some_and(begins_single) {
            pieces.push(self.single()?);
        }
        Ok(single_or(pieces, Expression::Joined))
    }

    fn single(&mut self) -> Result<Expression, String> {
        match self.peek() {
            None => Err("the expression ends where a value is expected".to_owned()),
            Some('(') => {
                if self.depth == MAX_DEPTH {
                    return Err(format!("more than {MAX_DEPTH} nested parentheses"));
                }
                self.depth += 1;
                self.at += 1;
                let inner = self.either()?;
                self.depth -= 1;
                self.peek();
                if self.take(")") {
                    Ok(inner)
                } else {
                    Err("a \")\" is missing".to_owned())
                }
            }
            Some('"') => Ok(Expression::Literal(Value::String(self.quoted()?))),
            Some('~') => {
                self.at += 1;
                Ok(Expression::Literal(Value::Null))
            }
            Some(first) if first == '-' || is_name_char(first) || first == '.' => self.word(),
            Some(other) => Err(format!("{other:?} is not supported here")),
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        while let Some(char) = self.next_char() {
            self.at += char.len_utf8();
            match char {
                '"' => return Ok(text),
                '\\' => {
                    let escaped = self.next_char().ok_or("a quote is not closed")?;
                    self.at += escaped.len_utf8();
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    /// A number, a word with a meaning of its own, or a reference.
    fn word(&mut self) -> Result<Expression, String> {
        let start = self.at;
        let is_number = self
            .next_char()
            .is_some_and(|first| first == '-' || first.is_ascii_digit());
        if is_number && let Some(number) = self.number()? {
            return Ok(Expression::Literal(Value::Number(number)));
        }
        let absolute = self.take(".");
        let mut segments = vec![Segment::Key(self.name()?)];
        loop {
            if self.rest().starts_with(".[") || self.rest().starts_with('[') {
                self.take(".");
                segments.push(self.index()?);
            } else if self.take(".") {
                segments.push(Segment::Key(self.name()?));
            } else {
                break;
            }
        }
        let text = self.text[start..self.at].to_owned();
        if self.next_char() == Some('(') {
            return Err(format!(
                "the function {text:?} is not supported, as no function is"
            ));
        }
        Ok(match text.as_str() {
            "true" => Expression::Literal(Value::Bool(true)),
            "false" => Expression::Literal(Value::Bool(false)),
            "nil" => Expression::Literal(Value::Null),
            _ => Expression::Reference(Reference {
                absolute,
                segments,
                text,
            }),
        })
    }

    /// A number; nothing if the word turns out to be a name that begins with digits.
    fn number(&mut self) -> Result<Option<Number>, String> {
        let length = self
            .rest()
            .find(|char: char| !is_name_char(char) && char != '.' && char != '-')
            .unwrap_or(self.rest().len());
        let word = self.rest()[..length].replace('_', "");
        if !word
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
        {
            return Ok(None);
        }
        let number = word
            .parse::<i64>()
            .ok()
            .map(Number::from)
            .or_else(|| word.parse::<f64>().ok().and_then(Number::from_f64))
            .ok_or_else(|| format!("{word:?} is not a number"))?;
        self.at += length;
        Ok(Some(number))
    }

    fn name(&mut self) -> Result<String, String> {
        if self.next_char() == Some('"') {
            return self.quoted();
        }
        let length = self
            .rest()
            .find(|char: char| !is_name_char(char) && char != '-')
            .unwrap_or(self.rest().len());
        if length == 0 {
            return Err("a name is missing".to_owned());
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    fn index(&mut self) -> Result<Segment, String> {
        self.at += 1;
        if self.next_char() == Some('"') {
            let key = self.quoted()?;
            return if self.take("]") {
                Ok(Segment::Key(key))
            } else {
                Err("a \"]\" is missing".to_owned())
            };
        }
        let Some((digits, _)) = self.rest().split_once(']') else {
            return Err("a \"]\" is missing".to_owned());
        };
        let index = digits
            .trim()
            .parse()
            .map_err(|_| format!("{digits:?} is not an index"))?;
        self.at += digits.len() + 1;
        Ok(Segment::Index(index))
    }
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn begins_single(char: char) -> bool {
    is_name_char(char) || matches!(char, '(' | '"' | '~' | '.')
}

fn single_or(mut many: Vec<Expression>, combine: fn(Vec<Expression>) -> Expression) -> Expression {
    match many.pop() {
        Some(only) if many.is_empty() => only,
        Some(last) => {
            many.push(last);
            combine(many)
        }
        None => Expression::Literal(Value::Null),
    }
}

#[cfg(test)]
mod tests;
