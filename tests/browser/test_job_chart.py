"""The chart of a job: what it shows of a part of the run, and the address that shows the same again."""

from __future__ import annotations

import functools
import math

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.jobview import axis, charted, switch, trace
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import Answer, ScriptedStudio

ROUTE = "#/jobs/job_1"
COUNT_ADDRESSES = """
    window.addresses = [];
    const replace = history.replaceState.bind(history);
    history.replaceState = (...given) => { window.addresses.push(given[2]); replace(...given); };
"""


@pytest.fixture
def job(studio: ScriptedStudio) -> ScriptedJob:
    """A job whose loss has fallen from 100 to 1 in a hundred steps."""
    job = studio.job("job_1", name="triage")
    for step in range(1, 101):
        job.log(step, loss=100 / step, learningRate=step / 1000)
    return job


def other(studio: ScriptedStudio, job_id: str, loss: float, *, name: str = "") -> ScriptedJob:
    """Let there be another run, with the same loss at each step, in the list of jobs."""
    run = studio.job(job_id, name=name or job_id)
    for step in (1, 100):
        run.log(step, loss=loss)
    studio.answers["GET /api/jobs"] = Answer({"jobs": [one.wire for one in studio.jobs.values()]})
    return run


def route(page: Page) -> str:
    """Return the route in the address."""
    return page.browser.current_url.partition("#")[2]


def show_steps(page: Page, first: int, last: int) -> None:
    """Type the steps that the chart is to show."""
    for label, step in (("From step", first), ("To step", last)):
        field = page.the(f"[aria-label='{label}']")
        field.clear()
        field.send_keys(str(step))
    page.press(Keys.ENTER)


def fits(page: Page, low: float, high: float, name: str = "yaxis") -> None:
    """Wait until an axis shows these values, and not much beyond."""
    room = 0.1 * (high - low) + 1e-9

    def is_fitted() -> bool:
        below, above = axis(page, name)
        return low - room <= below <= low and high <= above <= high + room

    eventually(is_fitted, f"{name} from {low} to {high}, not {axis(page, name)}")


def drag(page: Page, right: int, down: int = 0) -> None:
    """Drag over the chart, from the left of its middle."""
    page.run("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    actions = ActionChains(page.browser, duration=20).move_to_element_with_offset(page.the(".plot"), -300, -60)
    actions.click_and_hold().move_by_offset(right // 2, down // 2).move_by_offset(right - right // 2, down - down // 2)
    actions.release().perform()


def test_an_axis_fits_what_is_shown(page: Page, job: ScriptedJob) -> None:
    """After a zoom the losses, and the rates below, are those of the steps that are shown; a reset shows all again."""
    page.open(ROUTE)
    charted(page, 100)
    switch(page, "Learning rate")
    eventually(lambda: axis(page, "yaxis2")[1] > 0.09, "the learning rate")
    show_steps(page, 50, 80)
    fits(page, 100 / 80, 100 / 50)
    fits(page, 0, 0.08, "yaxis2")
    switch(page, "Log axis")
    fits(page, math.log10(100 / 80), math.log10(100 / 50))
    switch(page, "Log axis")
    fits(page, 100 / 80, 100 / 50)
    page.click("button", "Reset zoom")
    eventually(lambda: axis(page, "yaxis")[1] > 100 and axis(page)[1] >= 100, "all of it")
    eventually(lambda: axis(page, "yaxis2")[1] >= 0.1, "all of the learning rate")
    assert not page.button("Reset zoom").is_enabled()


def test_dragging_to_the_side_fits_the_losses_and_a_double_click_shows_all(page: Page, job: ScriptedJob) -> None:
    """Events that come meanwhile count where they are among the steps that are shown."""
    page.open(ROUTE)
    charted(page, 100)
    whole = axis(page, "yaxis")
    drag(page, 200)
    eventually(lambda: axis(page)[1] < 60, "a zoomed chart")
    first, last = axis(page)
    assert (first, last) == (int(first), int(last))
    fits(page, 100 / last, 100 / first)
    job.log(int(last) - 1, loss=50)
    fits(page, 100 / last, 50)
    ActionChains(page.browser).move_to_element(page.the(".plot")).double_click().perform()
    eventually(lambda: axis(page, "yaxis") == whole, "all losses")
    eventually(lambda: route(page) == "/jobs/job_1", "the plain address")


def test_a_smoothed_curve_is_fitted_with_what_it_was(page: Page, job: ScriptedJob) -> None:
    """Smoothing brings the losses before the window along; the bare losses are still to be seen."""
    page.open(f"{ROUTE}?steps=50..80&smoothing=.9")
    charted(page, 100)
    shown = trace(page, "loss")
    smooth = [y for x, y in zip(shown["x"], shown["y"], strict=True) if 50 <= x <= 80]
    assert max(smooth) > 100 / 50
    fits(page, 100 / 80, max(smooth))


def test_runs_that_are_laid_over_are_fitted_too(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """With the part of a line that crosses the window, until somebody hides it in the legend."""
    other(studio, "job_2", 7.0, name="other")
    page.open(f"{ROUTE}?steps=50..80&compare=job_2")
    eventually(lambda: trace(page, "triage").get("x", [0])[-1] == 100, "the run")
    fits(page, 100 / 80, 7)
    switch(page, "Log axis")
    fits(page, math.log10(100 / 80), math.log10(7))
    entry = page.run("return [...document.querySelectorAll('.legendtoggle')].at(-1)")
    ActionChains(page.browser).move_to_element(entry).click().perform()
    fits(page, math.log10(100 / 80), math.log10(100 / 50))
    assert page.run("return document.querySelector('.plot').data.at(-1).visible") == "legendonly"


def test_a_window_without_a_loss_shows_the_whole_axis(page: Page, job: ScriptedJob) -> None:
    """As before the first figure, or behind the last one."""
    page.open(f"{ROUTE}?steps=500..600")
    charted(page, 100)
    assert axis(page) == [500, 600]
    assert axis(page, "yaxis")[1] > 100


def test_a_box_shows_its_losses_until_the_steps_are_others(page: Page, job: ScriptedJob) -> None:
    """They are part of the address, in their own units on a log axis too."""
    page.open(f"{ROUTE}?axis=log")
    charted(page, 100)
    drag(page, 200, 100)
    eventually(lambda: "loss=" in route(page), "losses in the address")
    steps, losses = axis(page), axis(page, "yaxis")
    page.browser.refresh()
    charted(page, 100)
    assert axis(page) == steps
    assert axis(page, "yaxis") == pytest.approx(losses, abs=1e-4)
    switch(page, "Log axis")
    eventually(
        lambda: axis(page, "yaxis") == pytest.approx([10**power for power in losses], rel=1e-3), "the same losses"
    )
    show_steps(page, 50, 80)
    fits(page, 100 / 80, 100 / 50)
    eventually(lambda: route(page) == "/jobs/job_1?steps=50..80", "the address without them")


def test_what_is_shown_is_part_of_the_address(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """A reload shows the same, and so does the way back from another view; no change of it is a step of its own."""
    other(studio, "job_2", 7.0, name="second")
    other(studio, "job_3", 8.0, name="third")
    page.open(ROUTE)
    charted(page, 100)
    steps_back = page.run("return history.length")
    page.click("summary", "Compare")
    for name in ("third", "second"):
        page.click(".run-list label", name)
        eventually(functools.partial(trace, page, name), f"the run {name}")
    page.press(Keys.ESCAPE)
    switch(page, "Log axis")
    switch(page, "Learning rate")
    page.the("#smoothing").send_keys(Keys.ARROW_RIGHT * 50)
    show_steps(page, 20, 90)
    wanted = "/jobs/job_1?axis=log&smoothing=0.5&rate=learningRate&steps=20..90&compare=job_3&compare=job_2"
    eventually(lambda: route(page) == wanted, f"{wanted}, not {route(page)}")
    assert page.run("return history.length") == steps_back
    look = "const {data, _fullLayout: all} = document.querySelector('.plot'); return [all.xaxis.range, all.yaxis.type, "
    look += "all.yaxis.range, data.map(({name, line, y}) => [name, line.color, [...y]])]"
    eventually(lambda: axis(page) == [20, 90], "the steps")
    eventually(lambda: len(page.run(look)[3]) == 9, "three runs with their rates")
    shown = page.run(look)
    page.browser.refresh()
    eventually(lambda: page.run("return document.querySelector('.plot')?.data?.length") == 9, "three runs")
    assert page.run(look) == shown
    assert page.the("#smoothing").get_attribute("value") == "0.5"
    assert page.the("output").text == "0.50"
    assert [page.the(f"[aria-label='{end} step']").get_attribute("value") for end in ("From", "To")] == ["20", "90"]
    assert page.button("Reset zoom").is_enabled()
    page.the("summary", "Compare (2)")
    assert page.accessibility() == []
    page.click("nav a", "Jobs")
    page.titled("Jobs")
    page.browser.back()
    eventually(lambda: page.run("return document.querySelector('.plot')?.data?.length") == 9, "three runs again")
    assert page.run(look) == shown
    page.browser.forward()
    page.titled("Jobs")


@pytest.mark.parametrize(
    "query",
    [
        "smoothing=1&axis=cube&rate=toString&steps=80..50&loss=2..1&compare=&compare=job_1",
        "smoothing=0.123&steps=1.5..2&loss=x..y&unknown=1",
        "smoothing=-1&smoothing=NaN&steps=-5..5&loss=1e999..2e999",
        "steps=50&loss=..&smoothing=&axis=&rate=",
        "%E0%A4%A&steps=9999999999999999..99999999999999999",
    ],
)
def test_what_is_broken_in_an_address_is_passed_over(page: Page, job: ScriptedJob, query: str) -> None:
    """The chart shows all of the run, as without it."""
    page.open(f"{ROUTE}?{query}")
    charted(page, 100)
    assert trace(page, "loss")["y"][0] == 100
    assert axis(page)[1] >= 100
    assert axis(page, "yaxis")[1] > 100
    assert page.run("return document.querySelector('.plot')._fullLayout.yaxis.type") == "linear"
    assert page.run("return document.querySelector('.plot').data.length") == 1
    assert page.texts(".chart-body .problem") == []


def test_a_range_that_a_log_axis_cannot_show_is_fitted(page: Page, job: ScriptedJob) -> None:
    """It has no zero; a linear axis shows the range."""
    page.open(f"{ROUTE}?axis=log&loss=-1..50&steps=50..80")
    charted(page, 100)
    fits(page, math.log10(100 / 80), math.log10(100 / 50))
    switch(page, "Log axis")
    eventually(lambda: axis(page, "yaxis") == [-1, 50], "the losses of the address")


def test_a_run_of_the_address_that_is_not_there(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """A line says so; the others are laid over, at most four of them, and the address keeps what there is."""
    page.meets_refusals = True
    studio.answers["GET /api/jobs/job_9"] = Answer({"error": "There is no job 'job_9'."}, 404)
    for number in range(2, 8):
        other(studio, f"job_{number}", float(number))
    page.open(f"{ROUTE}?" + "&".join(f"compare=job_{number}" for number in (9, 2, 3, 4, 5, 6)))
    page.the(".chart-panel .problem", "job_9 cannot be laid over: There is no job 'job_9'.")
    page.the("summary", "Compare (3)")
    switch(page, "Log axis")
    wanted = "/jobs/job_1?axis=log&compare=job_2&compare=job_3&compare=job_4"
    eventually(lambda: route(page) == wanted, wanted)


def test_a_slider_that_is_dragged_writes_few_addresses(page: Page, job: ScriptedJob) -> None:
    """Browsers ignore a page that changes its address too often; the last one counts."""
    page.open(ROUTE)
    charted(page, 100)
    page.run(COUNT_ADDRESSES)
    page.run("""
        const slider = document.querySelector('#smoothing');
        for (let at = 1; at <= 99; at += 1) {
            slider.value = at / 100;
            slider.dispatchEvent(new Event('input'));
        }
    """)
    eventually(lambda: route(page) == "/jobs/job_1?smoothing=0.99", "the address")
    assert len(page.run("return addresses")) == 2


def test_a_view_that_was_left_does_not_change_the_address(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """It says the last of what it shows while one leaves: the way back leads there."""
    page.open(ROUTE)
    charted(page, 100)
    script = """
        for (const at of [0.2, 0.4]) {
            const slider = document.querySelector('#smoothing');
            slider.value = at;
            slider.dispatchEvent(new Event('input'));
        }
    """
    page.run(script + "document.querySelector('nav a[href$=jobs]').click()")
    page.titled("Jobs")
    eventually(lambda: route(page) == "/jobs", "the address of the jobs")
    page.browser.back()
    charted(page, 100)
    assert route(page) == "/jobs/job_1?smoothing=0.4"
