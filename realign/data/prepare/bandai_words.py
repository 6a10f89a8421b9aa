"""Words for the labels and styles of the Bandai-Namco data set."""

STYLES = {
    "active": ("energetically", "in an energetic way"),
    "angry": ("angrily", "in an angry way"),
    "childish": ("like a child", "in a childish way"),
    "chimpira": ("like a street thug", "with a swagger"),
    "elderly": ("like an elderly person", "as an old person would"),
    "exhausted": ("as if exhausted", "with little strength left"),
    "feminine": ("in a feminine way", "in a womanly manner"),
    "giant": ("like a giant", "heavily, as a giant would"),
    "happy": ("happily", "in a happy mood"),
    "masculine": ("in a masculine way", "in a manly manner"),
    "masculinity": ("in a masculine way", "in a manly manner"),
    "musical": ("rhythmically", "as if to music"),
    "normal": ("in a normal way", "in an ordinary way"),
    "not-confident": ("without confidence", "timidly"),
    "old": ("like an old person", "as an elderly person would"),
    "proud": ("proudly", "in a proud way"),
    "sad": ("sadly", "in a sad mood"),
    "tired": ("tiredly", "as if tired"),
    "youthful": ("in a youthful way", "with youthful ease"),
}
TRAVEL = {  # label -> (verb, participle, paraphrase of the verb)
    "walk": ("walks", "walking", "strolls"),
    "walk-back": ("walks", "walking", "steps"),
    "walk-left": ("walks", "walking", "goes"),
    "walk-right": ("walks", "walking", "goes"),
    "walk-turn-left": ("walks", "walking", "strolls"),
    "walk-turn-right": ("walks", "walking", "strolls"),
    "run": ("runs", "running", "jogs"),
    "dash": ("dashes", "dashing", "sprints"),
}
ACTS = {  # label -> (plain, paraphrase, participle); the joints show which hand is used
    "bow": ("bows", "bends forward in a bow", "bowing"),
    "call": ("leans forward and calls out to someone", "calls out while bending forward", "calling out to someone"),
    "dance-short": ("dances", "performs a short dance", "dancing"),
    "guide": ("guides someone with {hand}", "shows someone the way with {hand}", "showing the way with {hand}"),
    "kick": ("kicks", "performs a kick", "kicking"),
    "punch": ("throws punches", "punches with the fists", "punching"),
    "respond": ("responds by raising {hand}", "lifts {hand} to answer", "raising {hand} in response"),
    "slash": ("makes slashing movements", "slashes through the air", "slashing"),
    "bye": ("waves goodbye with {hand}", "says goodbye, moving {hand}", "waving goodbye with {hand}"),
    "byebye": ("waves goodbye with {hand}", "says goodbye, moving {hand}", "waving goodbye with {hand}"),
}
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
SUBJECTS = ("a person", "someone", "the person", "a figure", "this person")
PARTS = {"raise-up": ("raises", "lifts", "raising"), "wave": ("waves", "moves", "waving")}
