"""Texts of many scripts, and of what is hard in them, by a seed."""

# ruff: noqa: RUF001, letters that look alike are meant

import numpy as np

WORDS = (
    *("a photo of a cat", "An Astronaut riding a HORSE on Mars", "oil painting, 4k, trending on artstation"),
    *("it's she'll we've I'm they'd don't 'tis rock'n'roll", "the quick brown fox", "O'Neill's", "'s 's'S ’s"),
    *("Crème brûlée à la façon d'été", "Łódź, Škoda, Ærøskøbing, Straße", "ÀÉÎÕÜ àéîõü", "İstanbul ıŞĞ", "Ǆ ǅ ǆ ﬁ ﬂ"),
    *(
        "Cafe\u0301 nai\u0308ve A\u030a o\u0302\u0301",
        "q\u0323\u0307 q\u0307\u0323",
        "Z\u0351\u036b\u0343a\u0321\u034dl\u0361g",
    ),
    *(
        "一只猫坐在垫子上",
        "猫がマットの上に座っている。ｶﾀｶﾅ",
        "고양이가 매트 위에 앉아 있다",
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
        "繁體中文、書法",
    ),
    *("قطة تجلس على السجادة", "قِطَّةٌ", "חתול על שטיח, שָׁלוֹם", "بلّی ۱۲۳"),
    *("एक बिल्ली चटाई पर बैठी है", "क्ष त्र ज्ञ श्री", "বিড়াল মাদুরে", "பூனை பாயில்", "తెలుగు పిల్లి"),
    *("แมวนั่งบนเสื่อ", "กำแพงน้ำ", "ແມວ", "ကြောင်", "ឆ្មា", "კატა", "կատու", "ድመት"),
    *("Кошка сидит на КОВРЕ", "Γάτα σε χαλί ΣΊΣΥΦΟΣ ς", "ᚠᚢᚦᚨᚱᚲ", "𝔊𝔬𝔱𝔥𝔦𝔠 𝓼𝓬𝓻𝓲𝓹𝓽", "ＦＵＬＬ　ＷＩＤＴＨ"),
    *("\U0001f431 on a \U0001f6cb\ufe0f", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family"),
    *(
        "\U0001f44d\U0001f3fd\U0001f44d\U0001f3ff",
        "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5",
    ),
    *(
        "\u2764\ufe0f\u200d\U0001f525\u263a\ufe0e\u263a\ufe0f",
        "\U0001f9d1\u200d\U0001f680\U0001f434",
        "\U0001f47e\ufe0f",
    ),
    *("\x00\x01\x02 nul", "bell\x07 back\x08space", "tab\there\nnew\r\nline", "esc\x1b[31m red", "\x7f\x80\x85\x9f"),
    *("1234567890", "3.14159 1,000,000 1e-5", "½ ² Ⅷ ① ４２ ٤٢ ४२", "0x1F 2nd 3D 4k 8K", "10'000'd"),
    *(
        "!!!",
        "...---...",
        "?!?!?! ((((masterpiece)))), [[x]]",
        "(word:1.2) {a|b} <lora:x:0.5>",
        "@#$%^&*()_+-=",
        "“quoted” ‘x’ «y» —–-",
    ),
    *(
        "&amp; &lt;b&gt; &#39;x&#39; &eacute;",
        "&amp;amp;",
        "<p>html</p>",
        "https://example.org/?q=a&b=c#d",
        "C:\\path\\n",
    ),
    *(
        "\u200bzero\u200cwidth\u200djoin\ufeff",
        "\u00a0nbsp\u2003em\u3000cjk\u2028ls\u2029ps",
        "a\u00adb soft\u2011hyphen",
        "\u202eright to left\u202c",
    ),
    *("\ufffd \ufffe \uffff", "\U0010ffff \U000e0041", "\ue000private\uf8ff", "👾\ufe0e\ufe0f"),
    *(
        "antidisestablishmentarianism",
        "xX_ProGamer_Xx",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "ThisIsCamelCase snake_case",
    ),
)
SPECIAL = (
    *(
        "<|endoftext|>",
        "<|startoftext|>",
        "a<|endoftext|>b",
        "<|ENDOFTEXT|> <|StartOfText|>",
        "<|endoftext|",
        "cat! dog!! !",
    ),
    *(" <|endoftext|> x", "!a!b ! c", "<|startoftext|>a photo<|endoftext|>", "<|end\u200boftext|>", "<sks> <SKS> toy"),
)
EDGES = (
    *(
        "",
        " ",
        "   ",
        "\t\n ",
        "\x00",
        "\u0301",
        "\u200d",
        "a",
        "A",
        "'",
        "!",
        "é",
        "e\u0301",
        "猫",
        "🐱",
        "\U0010ffff",
    ),
    *(
        "a " * 76,
        "a " * 75,
        "a " * 74,
        "cat, " * 100,
        "猫" * 200,
        "🐱" * 60,
        "x" * 5000,
        "é" * 300,
        "! " * 90,
        "'s" * 80,
    ),
    *("e\u0301 " * 90, "word\u3000" * 80, "<|endoftext|>" * 80, "The same words as before. " * 40, "1" * 100, "ก" * 99),
)
SEPARATORS = (" ", " ", " ", "", ", ", "  ", "\n", "-", " 's ", "\u3000", "! ")
CASES = (str, str, str.upper, str.title, str.swapcase)


def sample_texts(count: int, seed: int = 0) -> list[str]:
    """So many different texts: the edges, all words once, then mixtures of them and of random letters."""
    rng = np.random.default_rng(seed)
    texts = dict.fromkeys((*EDGES, *SPECIAL, *WORDS))
    pieces = (*WORDS, *WORDS, *SPECIAL)
    while len(texts) < count:
        text = ""
        for _ in range(rng.integers(1, 6)):
            piece = random_letters(rng) if rng.random() < 0.3 else pieces[rng.integers(len(pieces))]
            text += CASES[rng.integers(len(CASES))](piece) + SEPARATORS[rng.integers(len(SEPARATORS))]
        if rng.random() < 0.3:
            text = text[rng.integers(len(text)) :]
        if rng.random() < 0.1:
            text *= int(rng.integers(2, 9))
        texts[text] = None
    return list(texts)[:count]


def random_letters(rng: np.random.Generator) -> str:
    """A few letters of one block of Unicode, none of them half of a pair."""
    start = int(rng.choice([0x20, 0xA0, 0x300, 0x370, 0x600, 0x900, 0xE00, 0x2000, 0x3040, 0x4E00, 0xAC00, 0x1F300]))
    return "".join(map(chr, start + rng.integers(0x80, size=rng.integers(1, 12))))
