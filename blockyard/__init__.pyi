"""What `import blockyard` shows, for type checkers: the names of `_HOME` in __init__.py, each from its home."""

from blockyard import referee as referee
from blockyard.blend import merge as merge
from blockyard.compare import Comparison
from blockyard.compare.compare import train_one as train_one
from blockyard.compare.judge.surface import scaling as scaling
from blockyard.compare.verdict import judge as judge
from blockyard.core.batch import Batch as Batch
from blockyard.core.errors import UsageError as UsageError
from blockyard.core.spec import Spec as Spec
from blockyard.core.state import State as State
from blockyard.decode.beams import beams as beams
from blockyard.decode.generate import generate as generate
from blockyard.decode.prefix import PrefixStore as PrefixStore
from blockyard.decode.rules import SamplingParams as SamplingParams
from blockyard.decode.speculate import speculate as speculate
from blockyard.decoder.draft import Draft as Draft
from blockyard.decoder.prompt_lookup import PromptLookup as PromptLookup
from blockyard.decoder.self_speculative import SelfSpeculative as SelfSpeculative
from blockyard.interop import export as export
from blockyard.interop import load as load
from blockyard.interop import load_peft as load_peft
from blockyard.interop import save_peft as save_peft
from blockyard.interop.tokenizer import chat_prompt as chat_prompt
from blockyard.interop.tokenizer import text_files as text_files
from blockyard.interop.tokenizer import tokenizer as tokenizer
from blockyard.kernels import exact as exact
from blockyard.model.attachment import load_attachment as load_attachment
from blockyard.model.attachment import save_attachment as save_attachment
from blockyard.model.count import count as count
from blockyard.model.model import Model as Model
from blockyard.model.model import Out as Out
from blockyard.model.model import make as make
from blockyard.saved.adapt import adapt as adapt
from blockyard.saved.evaluate import evaluate as evaluate
from blockyard.saved.forecast import forecast as forecast
from blockyard.saved.predict import predict as predict
from blockyard.saved.shrink import shrink as shrink
from blockyard.saved.tasks import EvalSettings as EvalSettings
from blockyard.saved.tasks import run_tasks as run_tasks
from blockyard.saved.versus import judge_models as judge_models
from blockyard.systems import build as build
from blockyard.systems import recipes as recipes
from blockyard.systems import spec as spec
from blockyard.transform.quantise import quantise as quantise
from blockyard.transform.take import take as take

__version__: str
compare: Comparison
