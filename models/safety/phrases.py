"""Words by which a text gives itself away: spoken to a machine, or spoken as no machine may speak to a reader."""

from __future__ import annotations

import re
from typing import Final

_I = re.IGNORECASE

_ORDERS: Final = (  # to forget, disregard, override rules: English, German, French, Spanish, Italian, Portuguese, Dutch
    r"\b(?:ignor(?:e|er|ez|ieren?|iert|a|ar|i|are|ate|en|eer)|disregard|forget|overrid\w+|overwrit\w+|bypass|"
    r"vergiss|vergessen sie|missachte\w*|übergeh\w*|überschreib\w*|"
    r"oubli(?:e|ez|er)|ne tiens pas compte|ne tenez pas compte|contourn\w+|"
    r"olvid(?:a|e|en|ar)|haz caso omiso|haga caso omiso|descart(?:a|e|en)|omit(?:e|a|an)|"
    r"dimentica(?:re|te)?|trascura(?:re|te)?|esque(?:ça|cer)|desconsider\w+|negeer|vergeet)\b"
    r"[^.]{0,60}"
    r"\b(?:instruc\w+|instruk\w+|instruz\w+|istruz\w+|anweis\w+|vorgaben?|anleitung\w*|consignes?|direct(?:ive|iva|ion)\w*|"
    r"rules?|regeln?|règles?|regles?|reglas?|regras?|regole|regels|prompts?|guidelines?|constraints?|schema|"
    r"above|previous(?:ly)?|prior text|preceding|earlier|bisher\w*|vorherig\w*|obige\w*|précédent\w*|precedent\w*|"
    r"anterior\w*|previ(?:a|o|e|i)\w*|everything|all(?:es)?|todo|tout|tutto|scores?|bewertung\w*|puntua\w+|punteggi\w*)\b"
)
_ROLES: Final = (
    r"<\s*/?\s*(?:start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|unused\d+|bos|eos|pad|"
    r"system|assistant|user|tool\w*|function\w*|s|im_start|im_end|\|[^>]*\|)[^>]*>"
    r"|<\|[^|>]*\|>|\[/?(?:INST|SYS|SYSTEM|TOOL\w*)\]|<<\s*SYS|^\W*(?:#+\s*)?(?:system|assistant|developer|tool|model|"
    r"nutzer|systeme?|système|sistema|asistente|assistente)\s*(?:prompt|message|turn)?\s*[:>]"
    r"|\b(?:new|neue|nouvelle|nueva|nuova) (?:system )?(?:instruc\w+|istruz\w+|anweisung\w*)|\bsystem ?(?:prompt|message|override|turn|note)\b"
    r"|\b(?:start|end|begin) ?of ?(?:turn|text|prompt|data)\b|\bEND\s+(?:OF\s+)?DATA\b|\bDATA\s+END\b|-{3,}\s*(?:end|system|data)"
)
_TOOLS: Final = (
    r"\b(?:tool|function)[_ -]?(?:call\w*|use|result|code|response)\b|\btool_code\b|\bcall:\w+|"
    r"[\{\[(]\s*['\"](?:name|function|tool|arguments|urgency|label|score|findings?|explanation|role|content|state)['\"]\s*:|"
    r"```|\b\w+\.(?:set|update|delete|call|run|execute)\w*\s*\(|\b(?:set|update)_?(?:urgency|priority|score|worklist)\b|"
    r"\b(?:curl|wget|DROP TABLE|SELECT \* FROM|os\.system|eval\()|https?://|\bbase64\b|javascript:|!\[[^\]]*\]\("
)
_TO_THE_MODEL: Final = (
    r"\b(?:you are (?:now|a|an|no longer)|you must (?:now |always |only )?(?:answer|say|write|output|report|reply|respond|state|classify|return)|"
    r"act as|pretend|roleplay|developer mode|jailbreak\w*|DAN mode|as an (?:ai|language model)|"
    r"(?:dear|attention|hey|note to|message (?:to|for)) (?:the )?(?:ai|a\.i\.|model|assistant|llm|medgemma|gemma|chatgpt|gpt|machine|software|algorithm)|"
    r"(?:ai|llm|medgemma|gemma|language model|large language model|chatbot|assistant)\b[ ,:-]+(?:must|should|please|shall|will|do not|don't|is to|needs to)|"
    r"(?:respond|reply|answer|output|print|write|say|state|repeat|return|classify|mark|flag|rate|report|label|set|lower|raise|change|downgrade|upgrade)\b[^.]{0,40}"
    r"\b(?:as |with |only |exactly |to |is |the word |nothing but )[^.]{0,30}\b(?:normal|negative|routine|urgent|non-?urgent|critical|stat|low|none|json|unremarkable|no findings?|priority|urgency|score|probability)\b|"
    r"(?:reveal|show|print|leak|repeat|output) (?:me )?(?:your|the) (?:system |hidden |initial )?(?:prompt|instructions|rules|schema)|"
    r"(?:urgency|priority|probability|score)\s*(?:=|:=|:|->)\s*['\"]?(?:\d|low|none|routine|normal|critical|stat|high))\b"
)
_TO_THE_MODEL_ABROAD: Final = (
    # German
    r"\b(?:du bist (?:jetzt|nun|ein)|sie sind (?:jetzt|nun) ein|antworte\w*|schreib(?:e|en sie)? (?:nur|stattdessen|dass|in)|gib (?:nur|aus)|"
    r"(?:an|achtung|hinweis an) (?:die |das )?(?:ki|ai|sprachmodell|modell|assistent\w*)|(?:setze|stufe|melde|markiere|ändere|bewerte)\b[^.]{0,40}"
    r"\b(?:dringlichkeit|priorität|unauffällig|normal|niedrig|dringend|routine|kritisch|wahrscheinlichkeit)|"
    # French
    r"tu es (?:maintenant|désormais)|vous êtes (?:maintenant|désormais)|réponds?|répondez|écris|écrivez|"
    r"(?:à|attention) (?:l['’])?(?:ia|intelligence artificielle|au modèle|modèle|assistant)|(?:mets|mettez|classe[zr]?|signale[zr]?|indique[zr]?|baisse[zr]?)\b[^.]{0,40}"
    r"\b(?:urgence|priorité|normale?|faible|routine|critique)|"
    # Spanish
    r"ahora eres|usted es ahora|eres (?:un|una)|responde[dr]?|escrib[ae]|"
    r"(?:a la|atención|nota para la) (?:ia|inteligencia artificial|asistente)|(?:pon|ponga|marca|marque|clasifi\w+|indique|baja|reduce|reduzca)\b[^.]{0,40}"
    r"\b(?:urgencia|prioridad|normal|baja|rutina|crítico)|"
    # Italian
    r"ora sei|adesso sei|tu sei|rispond[ie]|scriv[ie]|"
    r"(?:all['’]|attenzione |nota per l['’])(?:ia|intelligenza artificiale|assistente)|(?:imposta|segnala|classifica|indica|abbassa|riduci)\b[^.]{0,40}"
    r"\b(?:urgenza|priorità|normale|bassa|routine|critico)|"
    # Portuguese
    r"agora você é|você é (?:um|uma|agora)|responda|escreva|(?:defina|marque|classifique)\b[^.]{0,40}\b(?:urgência|prioridade|normal|baixa))\b"
    # Chinese, Russian, Arabic, Japanese
    r"|忽略|无视|忘记(?:之前|以上|所有)|系统(?:提示|消息)|你(?:现在)?是|请(?:回答|输出|回复|将)|优先级|紧急程度|"
    r"игнорир\w*|забудь\w*|не обращай\w*|системн\w+ (?:сообщ\w+|промпт)|ты теперь|ответь\w*|напиши\w*|срочность|приоритет|"
    r"تجاهل|انس(?:َ|ى)?\s|أنت الآن|أجب|اكتب|الأولوية|تعليمات|"
    r"無視して|指示(?:を|に)|あなたは|優先度"
)
_ENCODED: Final = r"\b[A-Za-z0-9+/]{48,}={0,2}\b|(?:\\x[0-9a-f]{2}){4,}|(?:\\u[0-9a-f]{4}){3,}|(?:%[0-9a-f]{2}){4,}|(?:&#x?[0-9a-f]+;){3,}|(?:\b[0-9a-f]{2}\b ){12,}"

TO_A_MACHINE: Final = tuple(
    re.compile(pattern, _I | re.MULTILINE)
    for pattern in (_ORDERS, _ROLES, _TOOLS, _TO_THE_MODEL, _TO_THE_MODEL_ABROAD, _ENCODED)
)
"""A sentence that matches one of these is addressed to a machine."""

FORBIDDEN: Final = {
    "it gives advice on treatment or procedures": re.compile(
        r"\b(?:treat\w*|therap\w+|antibiotic\w*|diuretic\w*|steroid\w*|oxygen|ventilat\w+|intubat\w+|drain\w*|chest tube|"
        r"thoracentesis|thoracostomy|surg\w+|operat\w+|biops\w+|aspirat\w+|administ\w+|prescri\w+|medicat\w+|dos(?:e|es|age)|"
        r"inject\w*|infus\w+|transfus\w+|discharg\w+|admit\w*|admission|refer(?:ral|red)?|consult\w*|recommend\w*|advis\w+|advice|"
        r"suggest(?:ed)? to|should|must|ought|need(?:s|ed)?|require[sd]?|follow.?up|repeat\w*|further imaging|"
        r"correlat\w+|ct|mri|ultrasound|scan|decompress\w*|needle|start|stop|begin|give|monitor\w*|manage\w*|call)\b",
        _I,
    ),
    "it diagnoses or is certain": re.compile(
        r"\b(?:diagnos\w+|definit\w+|certain(?:ly|ty)?|confirm\w*|clearly|obvious\w*|evident\w*|undoubted\w*|doubtless|"
        r"pathognomonic|proven?|proves|proof|conclusive\w*|unequivocal\w*|surely|sure|always|guarantee\w*|established|"
        r"cancer\w*|malignan\w+|metasta\w+|tubercul\w+|covid\w*|carcinoma|tumou?rs?)\b",
        _I,
    ),
    "it reassures": re.compile(
        r"\b(?:normal(?:ly)?|negative|unremarkable|clear|clean|healthy|benign|harmless|reassur\w+|fine|okay|ok|"
        r"within (?:normal )?limits|wnl|no acute|no findings?|nothing|nil|unchanged|intact|patent|safe|insignificant|trivial)\b",
        _I,
    ),
    "it speaks of urgency, which the triage decides": re.compile(
        r"\b(?:urgen\w+|emergen\w+|critical\w*|stat|immediate\w*|routine|priorit\w+|life.?threatening|non.?urgent|"
        r"can wait|low.?risk|high.?risk|escalat\w+|downgrad\w+|upgrad\w+|triage\w*|tension)\b",
        _I,
    ),
    "it speaks of people, machines or instructions": re.compile(
        r"\b(?:i|me|my|you|your|we|our|system|prompt\w*|instruct\w+|ignor\w+|rules?|schema|json|tool\w*|function\w*|assistant|"
        r"language model|ai|llm|password|token\w*|http\w*|www|dr|mr|mrs|ms|doctor|radiologist|physician|nurse|name[ds]?|born|"
        r"phone|address|email)\b",
        _I,
    ),
    "it gives a percentage": re.compile(r"\d\s*(?:%|percent|per cent)|\b0?[.]\d+\b|\bprobability\b", _I),
}
"""What no explanation may say, by the reason that is given for refusing it."""
