"""Files, folders and `extends`."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import MAX_CHAIN, load_policies, load_policy
from proxy.errors import ConfigError, Problem

RULE = "allow:\n  - {{id: {0}, why: w, hosts: [{0}.example.com]}}\n"


def write(folder: Path, name: str, text: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"version: 1\nname: {name}\n{text}")
    return path


def refusal(*paths: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_policies(paths)
    return caught.value.problems


def test_a_policy_of_version_and_name_is_legal_and_has_no_rules(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, "empty"))

    assert (policy.name, policy.rules, policy.observe, policy.ports) == ("empty", (), False, {443})
    assert policy.source == str(tmp_path / "empty.yaml")


def test_a_folder_means_its_policy_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path, name)
    write(tmp_path, "c").rename(tmp_path / "c.yml")
    (tmp_path / ".hidden.yaml").write_text("not a policy")
    (tmp_path / "README.md").write_text("not a policy")
    (tmp_path / "folder.yaml").mkdir()

    assert [policy.name for policy in load_policies([tmp_path])] == ["a", "b", "c"]


def test_files_and_folders_come_in_the_order_given(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, "a")

    assert [policy.name for policy in load_policies([write(tmp_path, "z"), folder])] == ["z", "a"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path / "none.yaml")

    assert problem.message == "cannot read the policy: no such file or directory"
    assert problem.where == str(tmp_path / "none.yaml")


def test_a_folder_without_a_policy_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path)[0].message == "the folder holds no policy"


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()

    assert refusal(tmp_path / "a.yaml")[0].message == "an empty policy"


def test_a_dangling_link_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "gone.yaml")

    assert refusal(tmp_path)[0].where == str(tmp_path / "b.yaml")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")

    assert refusal(tmp_path / "a.yaml")[0].message == "not a regular file"


def test_a_path_that_no_file_can_have_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a\0b")[0].message == "cannot read the policy: not a path"
    assert "too long" in refusal(tmp_path / ("a" * 5000))[0].message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a")
    path.chmod(0)

    assert refusal(path)[0].message == "cannot read the policy: permission denied"


def test_two_policies_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "b.yaml").write_text("version: 1\nname: a\n")

    (problem,) = refusal(tmp_path)

    assert problem.message == "two policies have the name `a`"
    assert problem.where == f"{tmp_path}/b.yaml:2:7"
    assert f"{tmp_path}/a.yaml:2" in problem.hint


def test_problems_of_all_files_are_told_together_and_each_once(tmp_path: Path) -> None:
    write(tmp_path, "base", "typo: 1\n")
    write(tmp_path, "a", "extends: [base]\n")
    write(tmp_path, "b", "extends: [base]\nmode: x\n")
    none = tmp_path / "none"

    found = refusal(tmp_path, none)

    assert [problem.where for problem in found] == [
        f"{tmp_path}/base.yaml:3:1",
        f"{tmp_path}/b.yaml:4:7",
        str(none),
    ] or [problem.where for problem in found] == [str(none), f"{tmp_path}/base.yaml:3:1", f"{tmp_path}/b.yaml:4:7"]


def test_extends_unites_rules_denies_and_credentials(tmp_path: Path) -> None:
    credential = "credentials:\n  {0}: {{from: env:A, hosts: [{0}.example.com], provider: github}}\n"
    rule = "allow:\n  - {{id: {0}, why: w, hosts: [{0}.example.com], credential: {0}}}\n"
    deny = "deny:\n  - {{id: no-{0}, why: w, hosts: [{0}.example.org]}}\n"
    write(tmp_path, "base", (rule + deny + credential).format("base"))
    top = write(tmp_path, "top", "extends: [base]\n" + (rule + deny + credential).format("top"))

    policy = load_policy(top)

    assert policy.name == "top"
    assert [rule.id for rule in policy.rules] == ["base", "no-base", "no-top", "top"]
    assert list(policy.credentials) == ["base", "top"]
    assert {rule.where for rule in policy.rules} >= {f"{tmp_path}/base.yaml:4", f"{tmp_path}/top.yaml:5"}


def test_a_rule_may_name_a_credential_of_a_policy_that_it_extends(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base",
        "allow:\n  - {id: a, why: w, hosts: [a.example.com], paths: [/a], credential: c}\n"
        "credentials:\n  c: {from: env:A, hosts: [a.example.com], provider: github}\n",
    )
    top = write(
        tmp_path,
        "top",
        "extends: [base]\nallow:\n  - {id: b, why: w, hosts: [a.example.com], paths: [/b], credential: c}\n",
    )

    assert [rule.credential for rule in load_policy(top).rules] == ["c", "c"]


def test_only_the_mode_of_the_top_file_counts(tmp_path: Path) -> None:
    write(tmp_path, "base", "mode: observe\n")

    assert not load_policy(write(tmp_path, "top", "extends: [base]\n")).observe
    assert load_policy(write(tmp_path, "seen", "extends: [top]\nmode: observe\n")).observe


def test_a_file_that_is_reached_twice_is_merged_once(tmp_path: Path) -> None:
    write(tmp_path, "base", RULE.format("base"))
    write(tmp_path, "left", "extends: [base]\n" + RULE.format("left"))
    write(tmp_path, "right", "extends: [base, base]\n" + RULE.format("right"))

    policy = load_policy(write(tmp_path, "top", "extends: [left, right, base]\n"))

    assert [rule.id for rule in policy.rules] == ["base", "left", "right"]


def test_a_ladder_of_diamonds_is_walked_once(tmp_path: Path) -> None:
    for number in range(MAX_CHAIN - 2):
        for side in "lr":
            write(tmp_path, f"{side}{number}", f"extends: [l{number + 1}, r{number + 1}]\n")
    for side in "lr":
        write(tmp_path, f"{side}{MAX_CHAIN - 2}", RULE.format(side))

    assert [rule.id for rule in load_policy(tmp_path / "l0.yaml").rules] == ["l", "r"]


def test_a_circle_is_shown(tmp_path: Path) -> None:
    write(tmp_path, "b", "extends: [c]\n")
    write(tmp_path, "c", "extends: [b]\n")

    (problem,) = refusal(write(tmp_path, "a", "extends: [b]\n"))

    assert problem.message == "`extends` goes in a circle: `b -> c -> b`"
    assert (problem.where, problem.key) == (f"{tmp_path}/c.yaml:3:11", "extends[0]")


def test_a_policy_that_extends_itself_is_a_circle(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "a", "extends: [a]\n"))[0].message == "`extends` goes in a circle: `a -> a`"


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    for number in range(MAX_CHAIN + 2):
        write(tmp_path, f"p{number}", f"extends: [p{number + 1}]\n")
    write(tmp_path, f"p{MAX_CHAIN + 2}")

    assert load_policy(tmp_path / "p2.yaml").name == "p2"
    assert refusal(tmp_path / "p0.yaml")[0].message == f"`extends` goes deeper than {MAX_CHAIN} files"


def test_a_base_that_is_not_there_gets_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "baseline")

    (problem,) = refusal(write(tmp_path, "a", "extends: [basline]\n"))

    assert problem.message == "there is no `basline.yaml` beside this file"
    assert problem.hint == "did you mean `baseline`?"


def test_a_base_may_be_a_link_within_the_folder_and_not_out_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "..data").mkdir(parents=True)
    write(folder / "..data", "inside", RULE.format("inside"))
    write(tmp_path, "outside")
    (folder / "base.yaml").symlink_to(folder / "..data" / "inside.yaml")
    (folder / "far.yaml").symlink_to(tmp_path / "outside.yaml")

    assert len(load_policy(write(folder, "a", "extends: [base]\n")).rules) == 1
    assert "leads out of the folder" in refusal(write(folder, "b", "extends: [far]\n"))[0].message


def test_an_id_is_unique_across_files_and_kinds(tmp_path: Path) -> None:
    write(tmp_path, "base", RULE.format("same"))
    top = write(tmp_path, "top", "extends: [base]\ndeny:\n  - {id: same, why: w, hosts: [a.b.com]}\n")

    (problem,) = refusal(top)

    assert problem.message == "two rules have the id `same`"
    assert problem.hint.startswith("the other one stands at")
    assert {problem.where, problem.hint} & {f"{tmp_path}/base.yaml:4:10", f"{tmp_path}/top.yaml:5:10"}


def test_a_base_is_a_complete_policy_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "base", "credentials:\n  c: {from: env:A, hosts: [a.example.com], provider: github}\n")
    top = write(
        tmp_path, "top", "extends: [base]\nallow:\n  - {id: a, why: w, hosts: [a.example.com], credential: c}\n"
    )

    (problem,) = refusal(top)

    assert problem.message == "no rule uses the credential `c`"
    assert (problem.where, problem.key) == (f"{tmp_path}/base.yaml:4:3", "credentials.c")


def test_a_base_does_not_borrow_a_credential_from_the_policy_above_it(tmp_path: Path) -> None:
    write(tmp_path, "base", "allow:\n  - {id: a, why: w, hosts: [a.example.com], credential: c}\n")
    top = write(
        tmp_path,
        "top",
        "extends: [base]\nallow:\n  - {id: b, why: w, hosts: [a.example.com], credential: c}\n"
        "credentials:\n  c: {from: env:A, hosts: [a.example.com], provider: github}\n",
    )

    (problem,) = refusal(top)

    assert problem.message == "no credential is named `c`"
    assert problem.where.startswith(f"{tmp_path}/base.yaml:4")


_KEYS = [
    *("version", "name", "extends", "mode", "allow", "deny", "credentials", "id", "why", "hosts", "addresses"),
    *("access", "methods", "schemes", "ports", "paths", "query", "encoded_slash", "http2", "inspect", "expires"),
    *("trace_context", "credential", "from", "provider", "inject", "placeholder", "header", "basic"),
]
_LEAVES = (
    st.sampled_from(["a.example.com", "*.a.com", "10.0.0.0/8", "/a/**", "GET", "read", "env:A", "agent", "2027-01-31"])
    | st.integers(-1, 70000)
    | st.booleans()
    | st.none()
    | st.floats()
    | st.text(max_size=8)
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=24,
)
_RULES = st.lists(st.dictionaries(st.sampled_from(_KEYS), _TREES, max_size=8), max_size=3)
_FILES = st.fixed_dictionaries(
    {"version": st.just(1), "name": st.just("a")},
    optional={"allow": _RULES, "deny": _RULES, "credentials": st.dictionaries(st.just("c"), _TREES), "extends": _TREES},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(tree=_FILES | _TREES)
def test_no_structure_raises_anything_but_a_config_error(tmp_path: Path, tree: object) -> None:
    import yaml

    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    _load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"version: 1\nname: a\n" + data)
    _load(path)


def _load(path: Path) -> None:
    try:
        assert load_policy(path).name == "a"
    except ConfigError as error:
        for problem in error.problems:
            assert problem.message
            assert problem.where.startswith(str(path))


def test_the_time_that_rules_take_to_load_grows_with_their_number(tmp_path: Path) -> None:
    import time

    def taken(count: int) -> float:
        text = "allow:\n" + "".join(
            f"- {{id: r{n}, why: w, hosts: [h{n // 100}.example.com], paths: [/a/{n}], credential: c{n % 2}}}\n"
            for n in range(count)
        )
        text += "credentials:\n" + "".join(
            f"  c{n}: {{from: env:A, hosts: ['*.example.com'], provider: github}}\n" for n in range(2)
        )
        path = write(tmp_path, "large", text)
        start = time.process_time()
        assert len(load_policy(path).rules) == count
        return time.process_time() - start

    taken(10)  # what is loaded once
    assert taken(10_000) < 40 * taken(1_000)  # ten times as many; comparing each with each would take a hundred times
