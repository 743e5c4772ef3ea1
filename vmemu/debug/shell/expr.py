# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions over symbols, registers and memory, in the manner of C: parsed into a tree of small functions, never evaluated as code.

    $rax + 8      tasks[3].pid      *(struct task *)$rdi      cpus[$vcpu].task->mm->root      &sched_lock      sizeof(struct mm)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vmemu.debug.shell.registry import CommandError, UsageError
from vmemu.machine.symbols import Symbols, UnknownName
from vmemu.machine.types import Member, Type

_MASK = (1 << 64) - 1
_TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*)|(?P<char>'(?:\\.|[^'\\])')|'(?P<quoted>[^']+)'"
    r"|(?P<register>\$[A-Za-z_]\w*)|(?P<name>[A-Za-z_]\w*(?::(?=[A-Za-z_])\w+)?)|(?P<sign>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>()\[\].?:,@]))"
)
#: Operators of two operands by rank, weakest first (ISO C11 6.5.5 to 6.5.14).
_RANKS: tuple[tuple[str, ...], ...] = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
#: Deepest nesting of brackets and prefixes.
_DEEPEST = 50


class Value(NamedTuple):
    """What an expression has come to. `address`: where it lies, if it lies in memory; a struct's `number` is 0. type None: 64 bits."""

    number: int
    type: Type | None = None
    address: int | None = None
    member: Member | None = None


@dataclass(frozen=True)
class Scope:
    """What names mean. read(address, size) -> bytes raises VmemuError; register(name) -> value, None for no such register.

    local(name): an argument or local variable, None for no such one; raises CommandError for one that is nowhere now.
    """

    symbols: Symbols
    read: Callable[[int, int], bytes]
    register: Callable[[str], int | None]
    big_endian: bool = False
    local: Callable[[str], Value | None] = lambda name: None

    def load(self, type: Type | None, address: int, member: Member | None = None) -> Value:
        """The value of a type at an address."""
        if type is not None and (type.composite or type.kind == "array" or type.kind == "function"):
            return Value(address, type, address)
        if type is None or not type.size:
            return Value(int.from_bytes(self.read(address, 8), "big" if self.big_endian else "little"), None, address)
        raw = self.read(address, type.size)
        number = type.scalar(raw)
        if member is not None and member.bits:
            number = number >> member.shift & (1 << member.bits) - 1
        return Value(number, type, address, member)


Node = Callable[[Scope], Value]


class Expression:
    """A parsed expression; `evaluate` may be called as often as one likes."""

    def __init__(self, text: str, symbols: Symbols) -> None:
        """Raises UsageError for what is no expression, UnknownName for a type that is not known."""
        self.text = text.strip()
        self._symbols = symbols
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise UsageError(f"{self.text!r}: cannot read it from {text[at:].strip()[:20]!r} on")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self._at = self._depth = 0
        if not self._tokens:
            raise UsageError("an expression is missing")
        self._node = self._binary(0)
        if self._at < len(self._tokens):
            raise UsageError(f"{self.text!r}: {self._tokens[self._at][1]!r} makes no sense there")

    def evaluate(self, scope: Scope) -> Value:
        """Raises VmemuError: CommandError, UnknownName, or what reading memory raises."""
        return self._node(scope)

    # -------------------------------------------------------------- parsing
    def _peek(self, *signs: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at][0] in ("sign",) and self._tokens[self._at][1] in signs

    def _take(self, *signs: str) -> str | None:
        if self._peek(*signs):
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _want(self, sign: str) -> None:
        if self._take(sign) is None:
            found = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
            raise UsageError(f"{self.text!r}: {sign!r} is missing before {found}")

    def _binary(self, rank: int) -> Node:
        if rank == len(_RANKS):
            return self._unary()
        left = self._binary(rank + 1)
        while sign := self._take(*_RANKS[rank]):
            left = _operation(sign, left, self._binary(rank + 1))
        return left

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UsageError(f"an expression nests more than {_DEEPEST} deep")
        try:
            if sign := self._take("-", "~", "!", "*", "&", "+"):
                return _prefix(sign, self._unary(), self.text)
            if self._peek("(") and (cast := self._cast()) is not None:
                inner = self._unary()
                return lambda scope: _cast(inner(scope), cast)
            return self._postfix(self._primary())
        finally:
            self._depth -= 1

    def _cast(self) -> Type | None:
        """``(struct task *)``; None, and nothing taken, when a bracket begins something else."""
        start = self._at
        self._at += 1
        found = self._type()
        if found is not None and self._take(")"):
            return found
        self._at = start
        return None

    def _type(self) -> Type | None:
        """A type's name, with stars; None, and nothing taken, for something else."""
        start, words = self._at, []
        while self._at < len(self._tokens) and self._tokens[self._at][0] == "name":
            words.append(self._tokens[self._at][1])
            self._at += 1
        if not words or (len(words) == 1 and self._symbols.find(words[0]) is not None):
            self._at = start
            return None
        try:
            found = self._symbols.type_of(" ".join(words))
        except UnknownName:
            if words[0] in ("struct", "union", "enum"):
                raise
            self._at = start
            return None
        if len(words) == 1 and found.composite and found.name != words[0]:  # a struct's tag alone is no type, but may be a variable
            self._at = start
            return None
        while self._take("*"):
            found = Type(f"{found.name} *", "pointer", 8, found.big_endian, found)
        return found

    def _primary(self) -> Node:
        if self._at >= len(self._tokens):
            raise UsageError(f"{self.text!r} ends too early")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            number = int(text, 0 if text[:2].lower() in ("0x", "0b") else 10)
            return lambda scope: Value(number)
        if kind == "char":
            code = ord(text[1:-1].encode().decode("unicode_escape"))
            return lambda scope: Value(code)
        if kind == "register":
            return lambda scope: _register(scope, text[1:])
        if text == "sizeof":
            return self._sizeof()
        if kind in ("name", "quoted"):
            return lambda scope: _name(scope, text)
        if text == "(":
            inner = self._binary(0)
            self._want(")")
            return inner
        raise UsageError(f"{self.text!r}: {text!r} makes no sense there")

    def _sizeof(self) -> Node:
        self._want("(")
        found = self._type()
        if found is None:
            inner = self._binary(0)
            self._want(")")
            return lambda scope: Value(8 if (kind := inner(scope).type) is None else kind.size)
        self._want(")")
        size = found.size
        return lambda scope: Value(size)

    def _postfix(self, node: Node) -> Node:
        while sign := self._take("[", ".", "->"):
            if sign == "[":
                node = _element(node, self._binary(0))
                self._want("]")
            else:
                if self._at >= len(self._tokens) or self._tokens[self._at][0] != "name":
                    raise UsageError(f"{self.text!r}: a member's name is missing after {sign!r}")
                node = _member(node, self._tokens[self._at][1], sign == "->")
                self._at += 1
        return node


# ------------------------------------------------------------------ evaluation
def _name(scope: Scope, name: str) -> Value:
    if (found := scope.local(name)) is not None:
        return found
    symbol = scope.symbols.find(name)
    if symbol is None:
        if (number := scope.register(name)) is not None:
            return Value(number)
        scope.symbols.symbol(name)  # raises, with names that come near
    assert symbol is not None
    try:
        type = scope.symbols.type_of(name)
    except UnknownName:
        return Value(symbol.address)  # a function, a label, or no debug information
    return scope.load(type, symbol.address)


def _register(scope: Scope, name: str) -> Value:
    number = scope.register(name)
    if number is None:
        raise CommandError(f"no register ${name}")
    return Value(number)


def _prefix(sign: str, operand: Node, text: str) -> Node:
    def evaluate(scope: Scope) -> Value:
        value = operand(scope)
        if sign == "&":
            if value.address is None:
                raise CommandError(f"{text!r}: & needs something that lies in memory")
            return Value(value.address, None if value.type is None else Type(f"{value.type.name} *", "pointer", 8, False, value.type))
        if sign == "*":
            return scope.load(_target(value), value.number)
        return Value({"-": -value.number, "~": ~value.number & _MASK, "!": int(not value.number), "+": value.number}[sign])

    return evaluate


def _target(value: Value) -> Type | None:
    """What a pointer or an array refers to; None: 64-bit words."""
    if value.type is None or value.type.kind not in ("pointer", "array"):
        return None
    target = value.type.target
    return None if target is None or target.kind == "void" else target


def _element(array: Node, index: Node) -> Node:
    def evaluate(scope: Scope) -> Value:
        value, number = array(scope), index(scope).number
        target = _target(value)
        if value.type is not None and value.type.kind == "array" and not 0 <= number < max(value.type.count, 1):
            raise CommandError(f"element {number} of {value.type.name}: there are 0 to {value.type.count - 1}")
        return scope.load(target, value.number + number * (8 if target is None else target.size) & _MASK)

    return evaluate


def _member(base: Node, name: str, arrow: bool) -> Node:
    def evaluate(scope: Scope) -> Value:
        value = base(scope)
        type = _target(value) if value.type is not None and value.type.kind == "pointer" else value.type
        if type is None or not type.composite:
            raise CommandError(f"{name!r} is a member of nothing: the type before it is {'not known' if type is None else type.name}")
        member = type.member(name)
        if member is None:
            raise CommandError(f"{type.name} has no member {name!r}; it has {', '.join(type.names())}")
        if not value.number and value.type is not type:
            raise CommandError(f"{name!r} of a null pointer to {type.name}")
        return scope.load(member.type, value.number + member.offset & _MASK, member)

    return evaluate


def _cast(value: Value, type: Type) -> Value:
    if type.composite:
        raise CommandError(f"a cast to {type.name}: write *({type.name} *)ADDRESS")
    number = value.number
    if type.kind != "void" and type.size < 8:
        number &= (1 << 8 * type.size) - 1
        if type.kind == "int" and number >> 8 * type.size - 1:
            number -= 1 << 8 * type.size
    return Value(number, type)


def _operation(sign: str, left: Node, right: Node) -> Node:
    if sign == "&&":
        return lambda scope: Value(int(bool(left(scope).number) and bool(right(scope).number)))
    if sign == "||":
        return lambda scope: Value(int(bool(left(scope).number) or bool(right(scope).number)))

    def evaluate(scope: Scope) -> Value:
        a, b = left(scope), right(scope)
        if sign in ("+", "-") and (target := _target(a)) is not None:
            if sign == "-" and _target(b) is not None:
                return Value((a.number - b.number) // max(target.size, 1))
            step = b.number * max(target.size, 1)
            pointer = a.type if a.type is not None and a.type.kind == "pointer" else Type(f"{target.name} *", "pointer", 8, False, target)
            return Value(a.number + (step if sign == "+" else -step) & _MASK, pointer)
        return Value(_compute(sign, a.number, b.number))

    return evaluate


def _compute(sign: str, a: int, b: int) -> int:
    if sign in ("/", "%"):
        if b == 0:
            raise CommandError("division by zero")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return quotient if sign == "/" else a - quotient * b
    if sign in ("<<", ">>"):
        if not 0 <= b < 64:
            raise CommandError(f"a shift by {b}: 0 to 63")
        return a << b & _MASK if sign == "<<" else a >> b
    if sign in _COMPARE:
        # registers are unsigned, members may be signed: -1 equals 0xffffffffffffffff
        return int(_COMPARE[sign](a, b) if (a < 0) == (b < 0) else _COMPARE[sign](a & _MASK, b & _MASK) if sign in ("==", "!=")
                   else _COMPARE[sign](a, b))
    return _ARITHMETIC[sign](a, b)


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    "&": lambda a, b: a & b,
}  # fmt: skip
