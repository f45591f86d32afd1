"""Makes the samples in this folder: `python examples/data/make_samples.py` writes the same files again.

Every sentence is put together, by chance, from pieces that were written for this purpose. A sample has the form of a
published data set and a regularity that its example can find within seconds. It is no measure of how well a model does
on real texts.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

FOLDER = Path(__file__).resolve().parent


def words(text: str) -> list[str]:
    return text.split()


def phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.split("/")]


# ---- film reviews: what is praised can be taken back by one "not", and what comes after "but" decides ---------------

GOOD = words(
    "wonderful charming brilliant moving clever funny gripping warm tender fresh graceful beautiful witty superb"
)
BAD = words("dull awful clumsy tedious weak boring shallow noisy silly lifeless stale messy pointless predictable")
PARTS = words("acting plot music ending story script cast dialogue direction camera humour pace film")
ADVERBS = ["", "", "", "very", "truly", "quite", "simply", "rather"]
OPENERS = ["", "", "", "in short ,", "i must say ,", "from start to end ,", "to my surprise ,", "as expected ,"]
OTHERS = {
    True: phrases("i could not stop watching / i would see it again / i loved every minute / i did not want it to end"),
    False: phrases("i could not wait for it to end / i left early / i fell asleep / i would not see it again"),
}


def clause(random: Random, good: bool) -> str:
    """One that praises or does not; a fourth of them say so by denying the opposite."""
    if random.random() < 0.1:
        return random.choice(OTHERS[good])
    denied = random.random() < 0.25
    adjective = random.choice(GOOD if good != denied else BAD)
    verb = random.choice(["is not", "is never"] if denied else ["is", "is", "seems"])
    adverb = "" if denied else random.choice(ADVERBS)
    return " ".join(words(f"the {random.choice(PARTS)} {verb} {adverb} {adjective}"))


def reviews() -> list[str]:
    random = Random(1)
    rows: dict[str, None] = {}
    while len(rows) < 700:
        good = random.random() < 0.5
        text = clause(random, good)
        if random.random() < 0.25:
            text = f"{clause(random, not good)} , but {text}"
        rows[f"{'good' if good else 'bad'}\t{' '.join(words(f'{random.choice(OPENERS)} {text} .'))}"] = None
    return list(rows)


# ---- Chinese sentences and what is felt in them ----------------------------------------------------------------------

SUBJECTS = words(
    "今天 昨天晚上 刚才 这个周末 早上出门的时候 下班以后 "
    "听到这个消息， 看到你的信， 说实话， 一想到这件事， 吃饭的时候 回家路上"
)
EMOTIONS = {
    "开心": ("我真的很开心 我忍不住笑了起来 心里甜甜的 大家都高兴极了 我们玩得特别痛快 我终于拿到了奖学金",
             "太好了！ 真想再来一次！ 好幸福啊！ 谢谢你陪我！ 运气真不错！"),
    "伤心": ("我难过得说不出话 眼泪一直往下掉 心里空空的 我又想起了离开的外婆 我一个人哭了很久 真的让我很失望",
             "为什么会这样…… 我好想她。 再也回不去了。 心都碎了。 什么都不想做了。"),
    "生气": ("我气得拍了桌子 他居然又骗了我 他们根本不讲道理 "
           "我忍了很久，这次忍不了了 没有人跟我道歉 他把我的话当耳边风",
             "太过分了！ 你给我说清楚！ 别再找借口了！ 凭什么这样对我！ 我受够了！"),
    "关心": ("我有点担心你 你脸色不太好 你要早点休息 我给你煮了一碗热汤 外面下雨，路上小心 有什么事都可以告诉我",
             "记得吃药哦。 到家给我打电话。 别太累了。 要照顾好自己。 需要我陪你吗？"),
    "惊讶": ("我简直不敢相信 天上居然出现了两道彩虹 他竟然一口气跑了四十公里 "
           "门一打开，我愣住了 没想到你会来 这么小的孩子会说五种语言",
             "天哪！ 怎么可能？ 真的假的？ 我的眼睛都瞪大了！ 太意外了！"),
    "平静": ("我在窗边看了一会儿书 我去超市买了牛奶和面包 会议改到了下午三点 "
           "河边有人在钓鱼 我把房间整理了一下 公交车和平常一样准时",
             "就这样吧。 一切照旧。 没有别的事。 然后就睡了。 天气不冷不热。"),
    "厌恶": ("那股味道让我想吐 他说话的样子让我反感 桌子上全是油，看着就恶心 "
           "我讨厌这种虚伪的客套 地上到处是垃圾，脏死了 他当着大家的面吐痰",
             "离我远一点。 多看一眼都难受。 真让人倒胃口。 我再也不去那家店了。 恶心。"),
    "疑问": ("我不明白这道题怎么做 你知道图书馆几点开门 这个按钮是做什么用的 "
           "为什么冬天的白天比较短 到底应该坐几路车 这两种说法有什么区别",
             "谁能告诉我？ 你怎么看？ 是不是我弄错了？ 能再解释一遍吗？ 答案是什么？"),
}  # fmt: skip


def emotions() -> list[str]:
    """Of two feelings in a sentence the one behind "but" counts."""
    random = Random(2)
    rows = []
    for label, (middles, ends) in EMOTIONS.items():
        texts: dict[str, None] = {}
        while len(texts) < 60:
            middle, end = random.choice(words(middles)), random.choice(words(ends))
            if random.random() < 0.3:
                other = random.choice([pieces for name, pieces in EMOTIONS.items() if name != label])
                middle = f"{random.choice(words(other[0]))}，{random.choice(['可是', '不过', '但是'])}{middle}"
            shape = random.choice(["{subject}{middle}，{end}", "{middle}，{end}", "{middle}。"])
            texts[shape.format(subject=random.choice(SUBJECTS), middle=middle, end=end)] = None
        rows += [f"{label}\t{text}" for text in texts]
    random.shuffle(rows)
    return rows


# ---- quatrains: four lines of five, or of seven, characters, of which the second and the fourth rhyme ---------------

SCENES = words("春山 秋江 孤舟 寒燈 古寺 長亭 荒城 野渡 青松 白鷺 斜陽 "
               "殘月 暮雨 曉風 落花 新柳 遠樹 空庭 平沙 清溪 疏鐘 歸雁 "
               "故人 行客 漁翁 老僧 遊子 樵夫")  # fmt: skip
TIMES = words("日暮 夜半 江南 溪北 十里 千山 三更 一夜 門外 天涯 林下 雪後")
OPEN = words("連雲暗 隔水青 入霧深 臨風立 伴客久 照壁寒 帶露白 過橋晚 映窗紅 逢花醉 倚石坐 聞笛起 知我意 共誰語")
RHYMES = [
    words("不記年 接遠天 起暮煙 繫客船 夜未眠 到門前 落溪邊 聽細泉"),
    words("濕薄衣 久未歸 獨自飛 雨聲微 掩竹扉 舊夢稀 送落暉 與願違"),
    words("獨倚樓 又一秋 向海流 不解愁 下滄洲 狎白鷗 望渡頭 憶舊遊"),
    words("無限情 月正明 繞古城 白髮生 步步行 葉葉輕 一聲聲 水自清"),
]


def quatrains() -> list[str]:
    random = Random(3)
    poems: dict[str, None] = {}
    while len(poems) < 500:
        long = random.random() < 0.4
        ends = random.sample(random.choice(RHYMES), 2)
        scenes, opens = random.sample(SCENES, 4), random.sample(OPEN, 2)
        times = random.sample(TIMES, 4) if long else [""] * 4
        lines = [
            time + scene + end
            for time, scene, end in zip(times, scenes, [opens[0], ends[0], opens[1], ends[1]], strict=True)
        ]
        poems["{}，{}。{}，{}。".format(*lines)] = None
    return list(poems)


# ---- sentences with the parts of speech of their words: only the context tells a duck from to duck ------------------

EITHER = words("duck saw light watch fish book park play walk plant fly paint ride plan answer rest")  # noun or verb
NOUNS = words("garden river teacher window child friend street bird boat kitchen letter market dog road house evening")
VERBS = words("find see want bring open draw follow carry forget need like sell")
ADJECTIVES = words("old small green quiet light warm open strange slow plain happy wooden")
NAMES = words("Anna Ben Clara David Emma Felix Mei Omar")
PLACES = ["in", "on", "near", "under", "behind", "with"]
Tagged = list[tuple[str, str]]


def noun_phrase(random: Random) -> Tagged:
    if random.random() < 0.15:
        return [(random.choice(NAMES), "PROPN")]
    found: Tagged = [random.choice([("the", "DET"), ("a", "DET"), ("this", "DET"), ("her", "PRON"), ("their", "PRON")])]
    if random.random() < 0.4:
        found.append((random.choice(ADJECTIVES), "ADJ"))
    return [*found, (random.choice(EITHER if random.random() < 0.6 else NOUNS), "NOUN")]


def verb_phrase(random: Random) -> Tagged:
    """After "to" or an auxiliary: a bare verb, and what it is about."""
    verb = (random.choice(EITHER if random.random() < 0.6 else VERBS), "VERB")
    return [verb, *random.choice([noun_phrase, place])(random)]


def place(random: Random) -> Tagged:
    return [(random.choice(PLACES), "ADP"), *noun_phrase(random)]


def sentence(random: Random) -> Tagged:
    subject = random.choice([[("I", "PRON")], [("you", "PRON")], [("they", "PRON")], noun_phrase(random)])
    auxiliary = random.choice(["can", "will", "must", "should", "did", "could"])
    kind = random.randrange(5)
    if kind == 0:
        found = [*subject, (auxiliary, "AUX"), *verb_phrase(random)]
    elif kind == 1:
        found = [*subject, (auxiliary, "AUX"), ("not", "PART"), *verb_phrase(random)]
    elif kind == 2:
        found = [
            *subject,
            (random.choice(["wanted", "went", "had", "liked", "tried"]), "VERB"),
            ("to", "PART"),
            *verb_phrase(random),
        ]
    elif kind == 3:
        found = [
            *subject,
            (random.choice(["saw", "found", "drew", "forgot"]), "VERB"),
            *noun_phrase(random),
            *place(random),
        ]
    else:
        found = [*noun_phrase(random), ("was", "AUX"), (random.choice(ADJECTIVES), "ADJ"), *place(random)]
    if random.random() < 0.2:
        found += [
            (",", "PUNCT"),
            (random.choice(["and", "but"]), "CCONJ"),
            ("they", "PRON"),
            (auxiliary, "AUX"),
            *verb_phrase(random),
        ]
    question = random.random() < 0.15 and kind < 2 and len(subject) == 1
    if question:
        found = [found[1], found[0], *found[2:]]
    word, tag = found[0]
    return [(word[0].upper() + word[1:], tag), *found[1:], ("?" if question else ".", "PUNCT")]


def tagged() -> list[str]:
    random = Random(4)
    blocks = ["\n".join(f"{word}\t{tag}" for word, tag in sentence(random)) for _ in range(400)]
    return "\n\n".join(blocks).split("\n")


# ---- English sentences and what they mean in Chinese, where times and places come first ------------------------------

PEOPLE = {"I": "我", "You": "你", "We": "我们", "They": "他们", "Tom": "汤姆", "Mary": "玛丽", "My brother": "我弟弟"}
WHEN = {"": "", "yesterday": "昨天", "this morning": "今天早上", "on Sunday": "星期天"}
WHERE = {"": "", "at home": "在家里", "in the park": "在公园里"}
NUMBERS = {"a": "一", "two": "两", "three": "三", "ten": "十"}
LOOKS = {"": "", "new": "新的", "old": "旧的", "red": "红色的"}
# English, Chinese, and the word that counts them
THINGS = [
    ("book", "书", "本"),
    ("dog", "狗", "只"),
    ("car", "汽车", "辆"),
    ("letter", "信", "封"),
    ("horse", "马", "匹"),
]
# past, present, Chinese
DEEDS = [("bought", "buy", "买"), ("saw", "see", "看见"), ("lost", "lose", "丢"), ("drew", "draw", "画")]


def translation(random: Random) -> str:
    (who, subject), (when, day), (where, spot) = (random.choice(list(one.items())) for one in (PEOPLE, WHEN, WHERE))
    (number, amount), (look, manner) = random.choice(list(NUMBERS.items())), random.choice(list(LOOKS.items()))
    thing, item, counter = random.choice(THINGS)
    past, present, doing = random.choice(DEEDS)
    things = " ".join(words(f"{number} {look} {thing}{'' if number == 'a' else 's'}"))
    if things.startswith("a old"):
        things = "an" + things[1:]
    counted = f"{amount}{counter}{manner}{item}"
    kind = random.random()
    middle = who if who in ("I", "Tom", "Mary") else who[0].lower() + who[1:]
    before, after = f"{subject}{day}", f"{spot}{doing}"
    if kind < 0.2:
        english, chinese = f"{who} did not {present} {things} {where} {when}", f"{before}没有{after}{counted}。"
    elif kind < 0.4:
        english, chinese = f"Did {middle} {present} {things} {where} {when}", f"{before}{after}了{counted}吗？"
    else:
        english, chinese = f"{who} {past} {things} {where} {when}", f"{before}{after}了{counted}。"
    return f"{' '.join(words(english))}{'?' if chinese.endswith('？') else '.'}\t{chinese}"


def translations() -> list[str]:
    random = Random(5)
    rows: dict[str, None] = {}
    while len(rows) < 540:
        rows[translation(random)] = None
    return list(rows)


SAMPLES = {
    "reviews.tsv": reviews, "emotions_zh.tsv": emotions, "quatrains_zh.txt": quatrains, "tagged.tsv": tagged,
    "translations.tsv": translations,
}  # fmt: skip


def main() -> None:
    for name, make in SAMPLES.items():
        (FOLDER / name).write_text("\n".join(make()) + "\n", encoding="utf-8", newline="\n")
        print(f"{FOLDER / name}: {(FOLDER / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
