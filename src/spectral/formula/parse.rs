//! The text of a formula.

use winnow::ascii::{digit0, digit1, multispace0};
use winnow::combinator::{Infix, Prefix};
use winnow::combinator::{alt, cut_err, delimited, eof, expression, fail, opt, preceded, repeat, terminated};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::token::{one_of, take_while};

use super::Step;

/// Characters of an expression at most. Published indices have less than 200.
const LONGEST: usize = 1000;

/// Parentheses inside parentheses at most: reading them takes a call each.
const DEEPEST: usize = 50;

/// A step in postfix order whose name has not been looked up.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Band(String),
    Function(String),
    Step(Step),
}

type Tokens = Vec<Token>;
type Failure = ErrMode<ContextError>;

/// What an expression says, in postfix order. The error says what is wrong with it, and where.
pub(super) fn tokens(text: &str) -> Result<Tokens, String> {
    if text.chars().count() > LONGEST {
        return Err(format!("longer than {LONGEST} characters"));
    }
    if deepest(text) > DEEPEST {
        return Err(format!("has parentheses more than {DEEPEST} deep"));
    }
    let whole = preceded(multispace0, terminated(sum, eof.context(expected("an operator"))));
    { whole }.parse(text).map_err(|error| {
        let rest = text.get(error.offset()..).unwrap_or_default();
        let wanted = error.inner().context().filter_map(|context| match context {
            StrContext::Expected(wanted) => Some(wanted.to_string()),
            _ => None,
        });
        let wanted = wanted.last().unwrap_or_else(|| "something else".into());
        let place = if rest.is_empty() { "at its end".to_owned() } else { format!("at {rest:?}") };
        let hint = match rest.chars().next() {
            Some('^') => "; powers of powers need parentheses",
            Some('(' | '{') => "; multiplication is written with *",
            Some(first) if first.is_alphanumeric() => {
                "; multiplication is written with *, and names of bands that are no words stand in braces: {band 1}"
            }
            _ => "",
        };
        format!("{wanted} is expected {place}{hint}")
    })
}

/// How deep parentheses go.
fn deepest(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

/// A character and the space after it.
fn sign<'i>(character: char) -> impl Parser<&'i str, char, Failure> {
    terminated(character, multispace0)
}

/// Operands and the operators between them. A sign binds less than a power, as on paper: `-x^2` is `-(x^2)`.
fn sum(input: &mut &str) -> ModalResult<Tokens> {
    let signs = repeat(1.., sign('-')).map(|signs: Vec<char>| {
        let negative = !signs.len().is_multiple_of(2);
        Prefix(8, if negative { |_: &mut _, x| Ok(joined(x, Vec::new(), Step::Negate)) } else { |_: &mut _, x| Ok(x) })
    });
    let between = alt((
        sign('+').value(Infix::Left(5, |_: &mut _, a, b| Ok(joined(a, b, Step::Add)))),
        sign('-').value(Infix::Left(5, |_: &mut _, a, b| Ok(joined(a, b, Step::Subtract)))),
        sign('*').value(Infix::Left(7, |_: &mut _, a, b| Ok(joined(a, b, Step::Multiply)))),
        sign('/').value(Infix::Left(7, |_: &mut _, a, b| Ok(joined(a, b, Step::Divide)))),
        sign('^').value(Infix::Neither(9, |_: &mut _, a, b| Ok(joined(a, b, Step::Power)))),
        fail,
    ));
    let operand = terminated(alt((number, braced, word, parenthesised)), multispace0);
    let before = signs.context(expected("a band, a number or \"(\""));
    expression(operand).prefix(before).infix(between).parse_next(input)
}

/// Two operands, or one and nothing, and what is done with them.
fn joined(mut a: Tokens, b: Tokens, step: Step) -> Tokens {
    a.extend(b);
    a.push(Token::Step(step));
    a
}

fn number(input: &mut &str) -> ModalResult<Tokens> {
    let digits = alt(((digit1, opt(('.', digit0))).void(), ('.', digit1).void()));
    let exponent = opt((one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1));
    let value = (digits, exponent).take().verify_map(|text: &str| text.parse().ok().filter(|x: &f64| x.is_finite()));
    value.map(|value| vec![Token::Step(Step::Number(value))]).parse_next(input)
}

/// A name of any characters.
fn braced(input: &mut &str) -> ModalResult<Tokens> {
    let name = take_while(1.., |c| c != '{' && c != '}');
    let end = '}'.context(expected("\"}\""));
    let name = delimited('{', cut_err(name.context(expected("the name of a band"))), cut_err(end));
    name.map(|name: &str| vec![Token::Band(name.to_owned())]).parse_next(input)
}

/// The name of a band, or a function and what it is taken of.
fn word(input: &mut &str) -> ModalResult<Tokens> {
    let first = one_of(|c: char| c.is_alphabetic() || c == '_');
    let name = (first, take_while(0.., |c: char| c.is_alphanumeric() || c == '_')).take();
    let (name, argument): (&str, _) = (terminated(name, multispace0), opt(parenthesised)).parse_next(input)?;
    Ok(match argument {
        None => vec![Token::Band(name.to_owned())],
        Some(mut tokens) => {
            tokens.push(Token::Function(name.to_owned()));
            tokens
        }
    })
}

fn parenthesised(input: &mut &str) -> ModalResult<Tokens> {
    delimited(sign('('), cut_err(sum), cut_err(')'.context(expected("an operator or \")\"")))).parse_next(input)
}
