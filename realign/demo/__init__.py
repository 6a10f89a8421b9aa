"""A page in the browser: motions from captions, search, and files of captions. Needs the extra `demo` (gradio)."""
