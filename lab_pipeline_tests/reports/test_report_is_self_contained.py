import re
import subprocess
import sys

LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}


def test_nothing_in_the_page_points_to_another_host(html):
    assert not re.search(r"""https?:|["'(=]\s*//""", html, re.IGNORECASE)


def test_every_reference_is_a_part_of_the_page_or_inline_data(page):
    references = [value for _, attributes in page.elements for name, value in attributes.items() if name in LOADING]
    assert references, "the icon is one"
    assert all(value.startswith(("#", "data:")) for value in references)


def test_style_loads_nothing(html):
    loads = re.findall(r"url\(([^)]*)\)|(@import)", html)
    assert all(target.startswith("#") for target, _ in loads)


def test_there_is_no_script_and_the_page_forbids_any(page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    policy = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_references_into_the_page_have_their_target(html):
    defined = set(re.findall(r' id="([^"]+)"', html))
    wanted = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html))
    assert {first or second for first, second in wanted} <= defined


def test_a_report_is_made_without_libraries_for_drawing():
    code = "import sys, lab_pipeline.reports; print({'matplotlib', 'PIL', 'pandas', 'dagster'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"
