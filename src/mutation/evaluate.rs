//! Evaluates the expressions of a document, each once, in the order in which they need each other.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::expression::{Expression, Part, Reference, Segment, Text, parse_text};
use super::values::{kind, listed};

/// Most evaluations, of values and of parts of expressions.
const MAX_STEPS: usize = 2_000_000;
/// Most bytes of values made, each value counted as often as it is copied.
const MAX_BYTES: usize = 64 << 20;
/// Deepest chain of maps, lists, expressions and references into each other: what the stack of a
/// thread holds with ease.
const MAX_DEPTH: usize = 400;

/// The key under which the rules' values stand in the document that expressions see; the
/// original's, which therefore is no name for a value.
pub(super) const RULES_KEY: &str = "ocmAdjustmentsTemplateKey";

/// Why a value has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// A reference to what is not there; the only failure that `||` answers.
    #[error("{expression}\t*'{reference}' not found ({problem})")]
    NotFound {
        /// The text with the expression; empty until the failure leaves it.
        expression: String,
        reference: String,
        problem: String,
    },
    /// References that lead back to themselves.
    #[error("the values refer to each other in a circle: {}", .path.join(" -> "))]
    Cycle { path: Vec<String> },
    /// Outside of what is supported.
    #[error("{0}")]
    Unsupported(String),
    /// Beyond a bound.
    #[error("{0}")]
    TooLarge(String),
}

impl Failure {
    /// The same failure, told of the text whose expression failed first.
    fn inside(mut self, text: &str) -> Self {
        const SHOWN: usize = 200;
        if let Self::NotFound { expression, .. } = &mut self
            && expression.is_empty()
        {
            text[..text.floor_char_boundary(SHOWN)].clone_into(expression);
        }
        self
    }
}

/// A step from a map or list to what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Where a value stands in the document.
type Place<'a> = Vec<Step<'a>>;

/// Evaluates values of one document, within bounds that hold for all of them together.
pub(super) struct Evaluator<'a> {
    root: &'a Value,
    done: HashMap<Place<'a>, Value>,
    /// The expressions that are being evaluated, the outermost first.
    active: Vec<Place<'a>>,
    steps: usize,
    bytes: usize,
    depth: usize,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            done: HashMap::new(),
            active: Vec::new(),
            steps: 0,
            bytes: 0,
            depth: 0,
        }
    }

    /// The value of the root's entry `key`, item `index` of it where one is given.
    pub(super) fn entry(&mut self, key: &'a str, index: Option<usize>) -> Result<Value, Failure> {
        let mut place = vec![Step::Key(key)];
        place.extend(index.map(Step::Index));
        match walk(self.root, &place) {
            Some(value) => self.value(value, &place),
            None => Ok(Value::Null),
        }
    }

    /// `value`, which stands at `place`, with all expressions in it evaluated.
    fn value(&mut self, value: &'a Value, place: &Place<'a>) -> Result<Value, Failure> {
        self.enter(place)?;
        let result = match value {
            Value::String(text) => self.text(text, place),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.value(item, &below(place, Step::Index(index))))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, entry)| {
                    self.spend(key.len())?;
                    Ok((
                        key.clone(),
                        self.value(entry, &below(place, Step::Key(key)))?,
                    ))
                })
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        };
        self.depth -= 1;
        result
    }

    fn text(&mut self, text: &'a str, place: &Place<'a>) -> Result<Value, Failure> {
        if !text.contains("((") {
            return self.paid(Value::String(text.to_owned()));
        }
        if let Some(done) = self.done.get(place) {
            let done = done.clone();
            return self.paid(done);
        }
        if let Some(start) = self.active.iter().position(|active| active == place) {
            let circle = self.active[start..].iter().chain([place]);
            return Err(Failure::Cycle {
                path: circle.map(|place| shown(place)).collect(),
            });
        }
        let parsed = parse_text(text).map_err(Failure::Unsupported)?;
        self.active.push(place.clone());
        let result = match parsed {
            Text::Plain(text) => Ok(Value::String(text)),
            Text::Whole(expression) => self.expression(&expression, place),
            Text::Mixed(parts) => self.mixed(&parts, place),
        };
        self.active.pop();
        let result = result.map_err(|failure| failure.inside(text))?;
        let result = self.paid(result)?;
        self.done.insert(place.clone(), result.clone());
        Ok(result)
    }

    fn mixed(&mut self, parts: &[Part], place: &Place<'a>) -> Result<Value, Failure> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Plain(plain) => text.push_str(plain),
                Part::Expression(expression) => {
                    let value = self.expression(expression, place)?;
                    text.push_str(&as_text(&value)?);
                }
            }
            self.spend(text.len())?;
        }
        Ok(Value::String(text))
    }

    fn expression(&mut self, expression: &Expression, place: &Place<'a>) -> Result<Value, Failure> {
        self.enter(place)?;
        let result = match expression {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Reference(reference) => self.reference(reference, place),
            Expression::Joined(pieces) => self.joined(pieces, place),
            Expression::Either(choices) => {
                let mut result = Ok(Value::Null);
                for choice in choices {
                    result = self.expression(choice, place);
                    if !matches!(result, Err(Failure::NotFound { .. })) {
                        break;
                    }
                }
                result
            }
        };
        self.depth -= 1;
        result
    }

    fn joined(&mut self, pieces: &[Expression], place: &Place<'a>) -> Result<Value, Failure> {
        let mut values = pieces.iter().map(|piece| self.expression(piece, place));
        let mut joined = match values.next() {
            Some(first) => first?,
            None => return Ok(Value::Null),
        };
        let rest: Vec<Value> = values.collect::<Result<_, _>>()?;
        for value in rest {
            joined = match (joined, value) {
                (Value::Array(mut list), Value::Array(more)) => {
                    list.extend(more);
                    Value::Array(list)
                }
                (joined, value) => Value::String(as_text(&joined)? + &as_text(&value)?),
            };
            self.spend(weight(&joined))?;
        }
        Ok(joined)
    }

    /// Finds a reference: its first step in the nearest map around `place` that has it, the others
    /// from there. A value does not find itself.
    fn reference(&mut self, reference: &Reference, place: &Place<'a>) -> Result<Value, Failure> {
        let Some(Segment::Key(first)) = reference.segments.first() else {
            return Err(Failure::Unsupported(format!(
                "{:?} does not begin with a name",
                reference.text
            )));
        };
        let outermost_only = if reference.absolute {
            0
        } else {
            place.len().saturating_sub(1)
        };
        let mut own = false;
        for length in (0..=outermost_only).rev() {
            let Some(Value::Object(scope)) = walk(self.root, &place[..length]) else {
                continue;
            };
            let Some((key, start)) = scope.get_key_value(first) else {
                continue;
            };
            let found = below(&place[..length], Step::Key(key));
            if &found == place {
                own = true;
                continue;
            }
            return self.follow(start, found, reference);
        }
        if own {
            let path = vec![shown(place), shown(place)];
            return Err(Failure::Cycle { path });
        }
        let problem = match self.root {
            Value::Object(root) => format!("known are {}", known(root)),
            other => format!("the values are {}", kind(other)),
        };
        Err(not_found(reference, problem))
    }

    /// Goes from `value` at `place` along the rest of `reference`.
    fn follow(
        &mut self,
        mut value: &'a Value,
        mut place: Place<'a>,
        reference: &Reference,
    ) -> Result<Value, Failure> {
        for (done, segment) in reference.segments.iter().enumerate().skip(1) {
            self.step()?;
            if let Value::String(text) = value
                && text.contains("((")
            {
                // What the expression gives is no part of the document: go on in the result.
                let result = self.value(value, &place)?;
                return descend(&result, &reference.segments[done..], reference).cloned();
            }
            let step = find(value, segment, reference)?;
            value = walk(value, &[step]).unwrap_or(value);
            place.push(step);
        }
        self.value(value, &place)
    }

    /// Goes one level deeper; who enters subtracts it again.
    fn enter(&mut self, place: &Place<'a>) -> Result<(), Failure> {
        self.step()?;
        if self.depth == MAX_DEPTH {
            return Err(Failure::TooLarge(format!(
                "values refer to each other more than {MAX_DEPTH} deep at {:?}",
                shown(place)
            )));
        }
        self.depth += 1;
        Ok(())
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Failure::TooLarge(format!(
                "the expressions need more than {MAX_STEPS} steps"
            )));
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(Failure::TooLarge(format!(
                "the expressions make more than {MAX_BYTES} bytes"
            )));
        }
        Ok(())
    }

    fn paid(&mut self, value: Value) -> Result<Value, Failure> {
        self.spend(weight(&value))?;
        Ok(value)
    }
}

fn below<'a>(place: &[Step<'a>], step: Step<'a>) -> Place<'a> {
    let mut below = Vec::with_capacity(place.len() + 1);
    below.extend_from_slice(place);
    below.push(step);
    below
}

fn walk<'a>(root: &'a Value, place: &[Step<'_>]) -> Option<&'a Value> {
    place.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

fn descend<'v>(
    value: &'v Value,
    segments: &[Segment],
    reference: &Reference,
) -> Result<&'v Value, Failure> {
    segments.iter().try_fold(value, |value, segment| {
        let step = find(value, segment, reference)?;
        Ok(walk(value, &[step]).unwrap_or(value))
    })
}

/// The step that `segment` means in `value`.
fn find<'v>(
    value: &'v Value,
    segment: &Segment,
    reference: &Reference,
) -> Result<Step<'v>, Failure> {
    match (segment, value) {
        (Segment::Key(key), Value::Object(map)) => match map.get_key_value(key) {
            Some((key, _)) => Ok(Step::Key(key)),
            None => Err(not_found(
                reference,
                format!("beside {key:?} known are {}", known(map)),
            )),
        },
        (Segment::Index(index), Value::Array(list)) => {
            let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let wanted = if *index < 0 {
                index.saturating_add(length)
            } else {
                *index
            };
            usize::try_from(wanted)
                .ok()
                .filter(|wanted| *wanted < list.len())
                .map(Step::Index)
                .ok_or_else(|| {
                    not_found(
                        reference,
                        format!("index {index} is outside of {length} items"),
                    )
                })
        }
        (Segment::Key(key), other) => Err(not_found(
            reference,
            format!("{key:?} is asked of {}", kind(other)),
        )),
        (Segment::Index(index), other) => Err(not_found(
            reference,
            format!("item {index} is asked of {}", kind(other)),
        )),
    }
}

fn not_found(reference: &Reference, problem: String) -> Failure {
    Failure::NotFound {
        expression: String::new(),
        reference: reference.text.clone(),
        problem,
    }
}

/// The keys of a map for a message, without the one that this program adds.
fn known(map: &Map<String, Value>) -> String {
    listed(map.keys().filter(|key| *key != RULES_KEY))
}

/// A scalar as a part of a text.
fn as_text(value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Failure::Unsupported(format!(
            "{} cannot be a part of a text",
            kind(value)
        ))),
    }
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    const NODE: usize = 32;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| key.len() + weight(entry))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn shown(place: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in place {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
        }
    }
    text
}

#[cfg(test)]
mod tests;
