"""The page: three tabs of gradio over a `Studio`."""

from collections.abc import Callable
from importlib import resources
from typing import Any

import gradio as gr

from realign.demo import fragments
from realign.demo.limits import UPLOADS, Limits
from realign.demo.studio import Studio
from realign.errors import explain

_EXAMPLES = (
    "a person walks forward and turns left",
    "a person waves with the right hand",
    "a person raises both hands",
    "a person runs forward",
    "a person bows",
)
_LENGTH = {"label": "Seconds", "value": 0, "info": "0: the usual length of such motions.", "min_width": 130}
_SEED = {"label": "Seed", "value": 0, "precision": 0, "info": "Another seed, another motion.", "min_width": 130}
_SHOW = "() => { if (innerWidth < 700) document.querySelector('.rd-player')?.scrollIntoView({behavior: 'smooth'}); }"
"""On a narrow screen the result is below the form."""
_TITLE = """# realign
Motions from sentences, steered by a reward model. The same noise is sampled twice, **unguided** and **guided** by the
gradient of the reward, so that you see what guidance changes."""


def make_page(studio: Studio) -> gr.Blocks:
    """The page with its events; requests wait in a queue of bounded length, one of each kind is computed at a time."""
    with gr.Blocks(title="realign demo", analytics_enabled=False) as page:
        gr.Markdown(_TITLE)
        with gr.Tab("Generate"):
            _generate_tab(studio)
        with gr.Tab("Search"):
            _search_tab(studio)
        with gr.Tab("Batch"):
            _batch_tab(studio)
    page.queue(max_size=studio.limits.waiting, default_concurrency_limit=1, status_update_rate="auto")
    return page


def appearance() -> dict[str, Any]:
    """Theme and styles for `mount_gradio_app`: fonts of the system, since others would be fetched."""
    fonts, mono = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"], ["ui-monospace", "monospace"]
    return {
        "theme": gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono),
        "css": _resource("page.css"),
    }


def _generate_tab(studio: Studio) -> None:
    own, limits = studio.model.default, studio.limits
    steered = own is not None and own.method == "reward"
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            text = gr.Textbox(
                label="Sentence", value=_EXAMPLES[0], lines=2, max_length=limits.letters,
                info="What the person does, in English. The shipped generator knows walking, running, turning, raising "
                "and waving hands, bowing.",
            )  # fmt: skip
            with gr.Row(elem_classes="rd-examples"):
                for example in _EXAMPLES:
                    gr.Button(example.removeprefix("a person "), size="sm").click(
                        None, None, text, js=f"() => {example!r}", api_visibility="private"
                    )
            with gr.Row():
                seconds = gr.Number(**_LENGTH)
                seed = gr.Number(**_SEED)
            samples = gr.Slider(1, limits.samples, value=1, step=1, label="Motions")
            guided = gr.Checkbox(
                value=studio.guided, label="Guide by the reward, and compare with the unguided motion",
                visible=studio.guided,
            )  # fmt: skip
            button = gr.Button("Generate", variant="primary")
            with gr.Accordion("Guidance and steps", open=False):
                strength = gr.Slider(
                    0, 10 * own.strength if own else 1, value=own.strength if own else 0, label="Strength",
                    info="Factor of the gradient.", visible=steered,
                )  # fmt: skip
                start = gr.Slider(
                    0, 1, value=own.start if own else 0, step=0.05, label="Begin", visible=steered,
                    info="Fraction of the sampling steps after which guidance begins.",
                )  # fmt: skip
                stop = gr.Slider(
                    0, 1, value=own.stop if own else 1, step=0.05, label="End", visible=steered,
                    info="Fraction after which it ends.",
                )  # fmt: skip
                steps = gr.Number(label="Denoising steps", value=0, precision=0, info="0: the generator's own number.")
        with gr.Column(scale=3, min_width=320):
            out = _place("The motion appears here: drag to turn it, scroll to zoom, space to pause.")

    def generate(
        text: Any, seconds: Any, seed: Any, samples: Any, steps: Any, guided: Any, strength: Any, start: Any, stop: Any
    ) -> str:
        given = (strength, start, stop) if steered else (None, None, None)
        return _told(lambda: fragments.generated(
            studio.generate(text, seconds or None, seed, samples, steps or None, bool(guided), *given)
        ))  # fmt: skip

    gr.on(
        [button.click, text.submit], generate, [text, seconds, seed, samples, steps, guided, strength, start, stop],
        out, api_name="generate", concurrency_id="generate", concurrency_limit=1, show_progress="full",
    ).then(None, js=_SHOW, api_visibility="private")  # fmt: skip


def _search_tab(studio: Studio) -> None:
    limits = studio.limits
    gr.Markdown(f"Finds the nearest of {len(studio.library):,} recorded motions by their embeddings.")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            text = gr.Textbox(label="By a sentence", value=_EXAMPLES[1], max_length=limits.letters)
            button = gr.Button("Search", variant="primary")
            gr.Markdown("**By a motion**")
            motion = _drop("motion", f"Drop a motion here, or click ({', '.join(UPLOADS)})", UPLOADS, limits)
            count = gr.Slider(1, min(limits.hits, len(studio.library)), value=6, step=1, label="Hits")
        with gr.Column(scale=3, min_width=320):
            out = _place("The nearest motions appear here; for a motion also the captions that fit it.")

    def by_text(text: Any, count: Any) -> str:
        return _told(lambda: fragments.found(studio.search(text, k=count)))

    def by_motion(motion: Any, count: Any) -> str:
        return _told(lambda: fragments.found(studio.search(motion=motion, k=count)))

    options: dict[str, Any] = {"concurrency_id": "search", "concurrency_limit": 1, "show_progress": "full"}
    gr.on([button.click, text.submit], by_text, [text, count], out, api_name="search", **options)
    motion.change(by_motion, [motion, count], out, api_name="search_motion", **options)


def _batch_tab(studio: Studio) -> None:
    limits = studio.limits
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            text = gr.Textbox(
                label="Sentences, one a line", value="\n".join(_EXAMPLES[:3]), lines=6, max_lines=12,
                max_length=limits.captions * (limits.letters + 1), info=f"At most {limits.captions}.",
            )  # fmt: skip
            drop = _drop("text", "Drop a text file with one sentence a line, or click", (".txt", ".csv"), limits)
            with gr.Row():
                seconds = gr.Number(**_LENGTH)
                seed = gr.Number(**_SEED)
            button = gr.Button("Generate all", variant="primary")
        with gr.Column(scale=3, min_width=320):
            out = _place("All motions appear here, with archives to download.")

    def batch(text: Any, seconds: Any, seed: Any, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        def tell(done: int, total: int) -> None:
            progress(done / total, desc=f"{done} of {total} motions")

        return _told(lambda: fragments.batch(studio.batch(text, seconds or None, seed, tell)))

    drop.change(None, drop, text, js="(text) => text", api_visibility="private")
    button.click(
        batch, [text, seconds, seed], out, api_name="batch", concurrency_id="generate", concurrency_limit=1,
        show_progress="full",
    )  # fmt: skip


def _told(answer: Callable[[], str]) -> str:
    """The answer, or the sentence of an error that a visitor can mend; a defect is left to be printed here."""
    try:
        return answer()
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        return fragments.refusal(" ".join(told.split()))


def _place(sentence: str) -> gr.HTML:
    return gr.HTML(fragments.hint(sentence), min_height=200, js_on_load=None, apply_default_css=False)


def _drop(kind: str, told: str, accept: tuple[str, ...], limits: Limits) -> gr.HTML:
    """A field for a file, which the browser reads and sends; its value is what the server knows it by, or its text."""
    return gr.HTML(
        "", js_on_load=_resource("drop.js"), kind=kind, told=told, accept=",".join(accept),
        most=limits.upload if kind == "motion" else limits.body // 4,
        html_template='<label class="rd-drop" tabindex="0" role="button"><input type="file" accept="{{accept}}">'
        "<span>{{told}}</span></label>",
    )  # fmt: skip


def _resource(name: str) -> str:
    return resources.files("realign.demo").joinpath(name).read_text(encoding="utf-8")
