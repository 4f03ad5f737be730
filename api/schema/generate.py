#!/usr/bin/env python3
"""Generates C++ structs and their descriptor tables from the .schema files next to this script.

usage: generate.py OUT_DIR SCHEMA...
writes OUT_DIR/api/types/<name>.{h,cc} for every <name>.schema, and OUT_DIR/api/schema.txt with all their text for run time

The form of the schema files is described in README.md.
"""
import os
import sys

SCALARS = {
    "string": "std::string", "Time": "std::string", "MicroTime": "std::string", "Duration": "std::string",
    "Quantity": "std::string", "bytes": "std::string", "bool": "bool", "int32": "int32_t", "int64": "int64_t",
    "float64": "double", "IntOrString": "IntOrString", "RawExtension": "RawJson", "JSON": "RawJson",
    "JSONSchemaPropsOrArray": "RawJson", "JSONSchemaPropsOrBool": "RawJson", "JSONSchemaPropsOrStringArray": "RawJson",
}
LEAVES = {"bytes": "bytes", "Time": "time", "MicroTime": "time", "Quantity": "quantity"}
OPTIONAL = {"bool", "int32_t", "int64_t", "double"}
BY_VALUE = {"metadata", "spec", "status", "template"}
KEYWORDS = set("""alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double else
enum explicit export extern false float for friend goto if inline int long mutable namespace new not operator or private protected
public register requires return short signed sizeof static struct switch template this throw true try typedef typename union unsigned
using virtual void volatile while xor concept""".split())


class Field:
    def __init__(self, name, type_, required, inline):
        self.name, self.type, self.required, self.inline = name, type_, required, inline


class Type:
    def __init__(self, group, name):
        self.group, self.name, self.fields, self.kind = group, name, [], None


class Group:
    def __init__(self, stem):
        self.stem, self.group, self.version, self.namespace = stem, "", "", ""
        self.types, self.enums = {}, set()


def words(line):
    """Splits a line at blanks; double quotes group, `#` starts the documentation."""
    out, word, quoted, started = [], "", False, False
    for c in line:
        if c == '"':
            quoted, started = not quoted, True
        elif c == "#" and not quoted and not started:
            break
        elif c.isspace() and not quoted:
            if started:
                out.append(word)
            word, started = "", False
        else:
            word, started = word + c, True
    if started:
        out.append(word)
    return out


def read(path):
    group = Group(os.path.basename(path).removesuffix(".schema"))
    current = None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        w = words(line)
        if not w:
            continue
        if not line[0].isspace():
            if w[0] == "group":
                group.group, group.version, group.namespace = w[1], w[2], w[3]
            elif w[0] in ("type", "kind"):
                current = group.types[w[1]] = Type(group, w[1])
                if w[0] == "kind":
                    current.kind = ("" if w[2] == "-" else w[2], w[3] == "namespaced")
            elif w[0] == "enum":
                group.enums.add(w[1])
            else:
                sys.exit(f"{path}:{number}: unknown word {w[0]}")
        elif w[0] == "+":
            current.fields.append(Field("+", w[1], False, True))
        elif w[0][0] not in "|!":
            current.fields.append(Field(w[0], w[1], "required" in w[3:], False))
    return group


def member_name(name):
    name = name.lstrip("$") + "_" if name.startswith("$") else name
    name = name.replace("-", "_")
    return name + "_" if name in KEYWORDS else name


class Generator:
    def __init__(self, groups):
        self.groups = {g.namespace: g for g in groups}

    def find(self, group, name):
        """The struct a name means in a group, or None for enums."""
        if "." in name:
            label, name = name.split(".")
            group = self.groups[label]
        if name in group.types:
            return group.types[name]
        if name in group.enums:
            return None
        sys.exit(f"{group.stem}: unknown type {name}")

    def cpp(self, group, text):
        """C++ type, struct it is made of (or None), what its strings stand for."""
        if text == "[bool]":  # std::vector<bool> has no addressable elements
            return "RawJson", None, None
        if text.startswith("["):
            inner, struct, leaf = self.cpp(group, text[1:-1])
            return f"std::vector<{inner}>", struct, leaf
        if text.startswith("{"):
            inner, struct, leaf = self.cpp(group, text[1:-1].split(":", 1)[1])
            return f"std::map<std::string, {inner}>", struct, leaf
        if text in SCALARS:
            return SCALARS[text], None, LEAVES.get(text)
        struct = self.find(group, text)
        if not struct:
            return "std::string", None, None
        return ("" if struct.group is group else struct.group.namespace + "::") + struct.name, struct, None

    def members(self, type_, seen=()):
        """(json name, C++ type, struct, by value, leaf, required) of all fields, embedded ones in place."""
        for f in type_.fields:
            if f.inline:
                embedded = self.find(type_.group, f.type)
                if embedded in seen:
                    sys.exit(f"{type_.name}: embeds itself")
                yield from self.members(embedded, seen + (type_,))
                continue
            cpp, struct, leaf = self.cpp(type_.group, f.type)
            by_value = False
            if struct and f.type[0] not in "[{":
                by_value = f.required or f.name in BY_VALUE
                if not by_value:
                    cpp = f"Box<{cpp}>"
            elif not f.required and cpp in OPTIONAL:
                cpp = f"std::optional<{cpp}>"
            yield f.name, cpp, struct, by_value, leaf, f.required

    def ordered(self, group):
        done, out = set(), []

        def visit(t):
            if t.name in done:
                return
            done.add(t.name)
            for _, _, struct, by_value, _, _ in self.members(t):
                if struct and by_value and struct.group is group:
                    visit(struct)
            out.append(t)

        for t in group.types.values():
            visit(t)
        return out

    def header(self, group):
        order = self.ordered(group)
        needs = sorted({s.group.stem for t in order for _, _, s, _, _, _ in self.members(t) if s and s.group is not group})
        out = ["// Generated from api/schema/%s.schema by api/schema/generate.py." % group.stem, "#pragma once", "",
               "#include <cstdint>", "#include <map>", "#include <optional>", "#include <string>", "#include <vector>", "",
               '#include "api/box.h"', '#include "api/kind.h"', '#include "api/values.h"']
        out += [f'#include "api/types/{n}.h"' for n in needs]
        out += ["", "namespace api {", "struct Descriptor;", f"namespace {group.namespace} {{", ""]
        out += [f"struct {t.name};" for t in order]
        for t in order:
            out += ["", f"struct {t.name} {{"]
            if self.out_of_line(t):
                n = t.name
                out += [f"  {n}();", f"  {n}(const {n}&);", f"  {n}({n}&&) noexcept;", f"  {n}& operator=(const {n}&);",
                        f"  {n}& operator=({n}&&) noexcept;", f"  ~{n}();"]
            for name, cpp, _, _, _, _ in self.members(t):
                init = " = " + {"bool": "false"}.get(cpp, "0") if cpp in OPTIONAL else ""
                out.append(f"  {cpp} {member_name(name)}{init};")
            out.append(f"  bool operator==(const {t.name}&) const;")
            out.append("  static const Descriptor& descriptor();")
            if t.kind:
                out.append("  static const KindInfo& kind_info();")
            out.append("};")
        out += ["", f"}}  // namespace {group.namespace}", "}  // namespace api", ""]
        return "\n".join(out)

    def out_of_line(self, t):
        """Copying and destroying a large struct is code of its own, not repeated wherever it is used. Small ones stay aggregates."""
        return len(list(self.members(t))) > 4

    def source(self, group):
        out = ["// Generated from api/schema/%s.schema by api/schema/generate.py." % group.stem,
               f'#include "api/types/{group.stem}.h"', "", "#include <cstddef>", "", '#include "api/descriptor.h"', "",
               '#pragma GCC diagnostic ignored "-Winvalid-offsetof"', "", f"namespace api::{group.namespace} {{"]
        for t in self.ordered(group):
            n = t.name
            out += ["", f"bool {n}::operator==(const {n}&) const = default;"]
            if self.out_of_line(t):
                out += [f"{n}::{n}() = default;", f"{n}::{n}(const {n}&) = default;", f"{n}::{n}({n}&&) noexcept = default;",
                        f"{n}& {n}::operator=(const {n}&) = default;", f"{n}& {n}::operator=({n}&&) noexcept = default;", f"{n}::~{n}() = default;"]
            if t.kind:
                out += [f"const KindInfo& {t.name}::kind_info() {{",
                        f'  static constexpr KindInfo info{{"{group.group}", "{group.version}", "{t.name}", "{t.kind[0]}", '
                        f'{"true" if t.kind[1] else "false"}}};', "  return info;", "}"]
            out += [f"const Descriptor& {t.name}::descriptor() {{"]
            rows = [f'      {{"{name}", offsetof({t.name}, {member_name(name)}), {"true" if required else "false"}, '
                    f'&TypeTable<{cpp}{", Shape::" + leaf if leaf else ""}>::value}},'
                    for name, cpp, _, _, leaf, required in self.members(t)]
            if rows:
                out += ["  static constexpr FieldInfo fields[] = {"] + rows + ["  };"]
            kind = ", &kind_info()" if t.kind else ""
            out += [f'  static const Descriptor d{{"{t.name}", {"fields" if rows else "{}"}{kind}}};', "  return d;", "}"]
        out += ["", f"}}  // namespace api::{group.namespace}", ""]
        return "\n".join(out)


def write(path, text):
    """Leaves an unchanged file alone, so that nothing is compiled again for it."""
    if os.path.exists(path) and open(path, encoding="utf-8").read() == text:
        return
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    out = os.path.join(sys.argv[1], "api", "types")
    os.makedirs(out, exist_ok=True)
    groups = [read(p) for p in sys.argv[2:]]
    write(os.path.join(sys.argv[1], "api", "schema.txt"), "".join(open(p, encoding="utf-8").read() + "\0" for p in sys.argv[2:]))
    g = Generator(groups)
    for group in groups:
        write(os.path.join(out, group.stem + ".h"), g.header(group))
        write(os.path.join(out, group.stem + ".cc"), g.source(group))


main()
