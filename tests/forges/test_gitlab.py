"""GitLab: groups of any depth, a path before them, and repositories beside a project's own."""

from __future__ import annotations

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

LAB = driver_for(ForgeConfig("gitlab.com", "gitlab", "https://gitlab.com"))


def test_groups_nest_as_deep_as_the_path_is_long() -> None:
    """GitLab allows twenty levels; the length of the whole is what is bounded."""
    deep = "/".join(["group"] * 20) + "/Project"
    assert LAB.normal(deep) == deep.lower()
    assert LAB.normal("/".join(["group"] * 60)) is None


def test_a_renamed_project_and_a_missing_suffix_are_no_login_page() -> None:
    """GitLab redirects what lacks ``.git`` to what has it, which is the same repository; its sign-in page is none."""
    probe = b"/info/refs?service=git-upload-pack"
    assert LAB.moved(b"https://gitlab.com/Group/Project.git" + probe) == "group/project"
    assert LAB.moved(b"https://gitlab.com/users/sign_in") is None


def test_the_meaning_of_its_refusals() -> None:
    """A role and a scope are both needed, and a wrong token repeated bans the gateway's address for an hour."""
    assert "read_repository or the Reporter role" in LAB.sentence(403, Access.READ)
    assert "bans this gateway after failed logins" in LAB.sentence(403, Access.READ)
    assert "write_repository or the Developer role" in LAB.sentence(403, Access.WRITE)
    assert LAB.sentence(404, Access.READ).endswith("GitLab hides the difference")
    assert LAB.sentence(502, Access.READ) == (
        "gitlab.com answered 502: the forge reports an internal error; try again later"
    )
